#include "SchemaValidator.h"

#include <cmath>
#include <regex>

namespace stagewright {

using nlohmann::json;

static bool hasType(const json &value, const std::string &type) {
  if (type == "integer")
    return value.is_number() && std::floor(value.get<double>()) == value.get<double>();
  return (type == "null" && value.is_null()) || (type == "boolean" && value.is_boolean()) ||
         (type == "number" && value.is_number()) || (type == "string" && value.is_string()) ||
         (type == "array" && value.is_array()) || (type == "object" && value.is_object());
}

/// `root`: the whole schema, in which references are looked up.
static std::string violation(const json &root, const json &schema, const json &value,
                             const std::string &path);

static std::string members(const json &root, const json &schema, const json &value, const std::string &path) {
  for (auto &[key, member] : value.items()) {
    const json &properties = schema.at("properties");
    if (!properties.contains(key)) {
      if (!schema.value("additionalProperties", true))
        return path + "/" + key + ": unknown";
      continue;
    }
    if (std::string inner = violation(root, properties[key], member, path + "/" + key); !inner.empty())
      return inner;
  }
  return "";
}

static std::string violation(const json &root, const json &schema, const json &value,
                             const std::string &path) {
  for (auto &[keyword, rule] : schema.items()) {
    bool holds = true;
    if (keyword == "$schema" || keyword == "title" || keyword == "description" || keyword == "default" ||
        keyword == "additionalProperties" || keyword == "$defs") {
      continue;
    } else if (keyword == "$ref") {
      const std::string pointer = rule.get<std::string>().substr(1); // behind the #
      if (std::string inner = violation(root, root.at(json::json_pointer(pointer)), value, path);
          !inner.empty())
        return inner;
    } else if (keyword == "type") {
      holds = false;
      for (const json &type : rule.is_array() ? rule : json::array({rule}))
        holds = holds || hasType(value, type);
    } else if (keyword == "enum") {
      holds = std::find(rule.begin(), rule.end(), value) != rule.end();
    } else if (keyword == "const") {
      holds = value == rule;
    } else if (keyword == "not") {
      holds = !violation(root, rule, value, "").empty();
    } else if (keyword == "anyOf") {
      holds = std::any_of(rule.begin(), rule.end(),
                          [&](const json &one) { return violation(root, one, value, "").empty(); });
    } else if (keyword == "minimum") {
      holds = !value.is_number() || value.get<double>() >= rule.get<double>();
    } else if (keyword == "exclusiveMinimum") {
      holds = !value.is_number() || value.get<double>() > rule.get<double>();
    } else if (keyword == "maximum") {
      holds = !value.is_number() || value.get<double>() <= rule.get<double>();
    } else if (keyword == "exclusiveMaximum") {
      holds = !value.is_number() || value.get<double>() < rule.get<double>();
    } else if (keyword == "pattern") {
      holds = !value.is_string() ||
              std::regex_search(value.get<std::string>(), std::regex(rule.get<std::string>()));
    } else if (keyword == "minItems") {
      holds = !value.is_array() || value.size() >= rule.get<std::size_t>();
    } else if (keyword == "maxItems") {
      holds = !value.is_array() || value.size() <= rule.get<std::size_t>();
    } else if (keyword == "required") {
      for (const json &name : rule)
        holds = holds && (!value.is_object() || value.contains(name));
    } else if (keyword == "items") {
      for (std::size_t i = 0; value.is_array() && i < value.size(); ++i)
        if (std::string inner = violation(root, rule, value[i], path + "/" + std::to_string(i));
            !inner.empty())
          return inner;
    } else if (keyword == "properties") {
      if (std::string inner = value.is_object() ? members(root, schema, value, path) : ""; !inner.empty())
        return inner;
    } else {
      return path + ": the schema uses the keyword " + keyword + ", which this validator does not know";
    }
    if (!holds)
      return path + ": " + keyword + " " + rule.dump() + " does not hold for " + value.dump();
  }
  return "";
}

std::string violation(const json &schema, const json &value, const std::string &path) {
  return violation(schema, schema, value, path);
}

} // namespace stagewright
