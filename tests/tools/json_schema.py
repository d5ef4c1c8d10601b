"""Checks a value against a JSON Schema, as far as docs/*.schema.json use the language. An unknown keyword is an error."""
import re

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "null": lambda v: v is None,
}
NOTES = {"$schema", "$defs", "$id", "title", "description"}


def errors(value, schema, root=None, path=""):
    """A list of texts; empty if the value fits."""
    root = root or schema
    found = []
    for keyword, wanted in schema.items():
        if keyword in NOTES:
            continue
        elif keyword == "$ref":
            found += errors(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, path)
        elif keyword == "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            if not any(TYPES[kind](value) for kind in kinds):
                return [f"{path}: {value!r} is no {' or '.join(kinds)}"]
            if value is None:  # the other rules are for values
                return found
        elif keyword == "enum":
            found += [] if value in wanted else [f"{path}: {value!r} is none of {wanted}"]
        elif keyword == "minimum":
            found += [] if value >= wanted else [f"{path}: {value!r} is below {wanted}"]
        elif keyword == "pattern":
            found += [] if re.search(wanted, value) else [f"{path}: {value!r} does not match {wanted}"]
        elif keyword == "required":
            found += [f"{path}: {name} is missing" for name in wanted if name not in value]
        elif keyword == "properties":
            for name in wanted.keys() & value.keys():
                found += errors(value[name], wanted[name], root, f"{path}/{name}")
        elif keyword == "additionalProperties":
            assert wanted is False
            found += [f"{path}: {name} is not described" for name in value.keys() - schema["properties"].keys()]
        elif keyword == "items":
            for index, item in enumerate(value):
                found += errors(item, wanted, root, f"{path}/{index}")
        else:
            raise AssertionError(f"keyword {keyword} of the schema is not known here")
    return found
