"""The models of models/ with other sizes, so that tests of them end in seconds. Standard library only."""
import json

from program import SOURCE, strip_comments


def load(name):
    return json.loads(strip_comments((SOURCE / "models" / name / "model.json").read_text()))


def layers_of(spec):
    """Every layer, those inside a Sequential after it."""
    waiting = list(spec["layers"])
    while waiting:
        layer = waiting.pop(0)
        yield layer
        waiting = layer.get("layers", []) + waiting


WIDTHS = ("embedding_dim", "normalized_shape", "in_features", "out_features")


def language_model(name, blocks=None, width=None, heads=None, vocabulary=None, length=None, dropout=None):
    """gpt_mini or gpt2_124m; `dropout` in the places where GPT-2 has it."""
    spec = load(name)
    table, positions = spec["layers"][:2]
    old_width, old_vocabulary = table["embedding_dim"], table["num_embeddings"]
    for tensor in spec["inputs"]:
        tensor["shape"] = [length or tensor["shape"][0]]
    for layer in layers_of(spec):
        for key in WIDTHS:
            if key in layer and layer[key] == old_vocabulary:
                layer[key] = vocabulary or old_vocabulary
            elif key in layer:
                layer[key] = layer[key] // old_width * (width or old_width)
        if "num_heads" in layer:
            layer["num_heads"] = heads or layer["num_heads"]
            if dropout:
                layer["dropout_p"] = dropout
        if "repeat" in layer:
            layer["repeat"] = blocks or layer["repeat"]
    table["num_embeddings"] = vocabulary or old_vocabulary
    positions["num_positions"] = length or positions["num_positions"]
    if dropout:
        add_dropout(spec, dropout)
    return spec


def add_dropout(spec, p):
    """Behind the positions, and in every block on what is added to the residual stream."""
    for at, layer in enumerate(spec["layers"]):
        if layer["type"] == "LearnedPositions":
            spec["layers"].insert(at + 1, {"type": "Dropout", "name": "drop", "p": p})
            break
    block = next(layer for layer in spec["layers"] if layer["type"] == "Sequential")
    inner = []
    for layer in block["layers"]:
        if layer["type"] == "Add":
            dropped = layer["inputs"][1]
            inner.append({"type": "Dropout", "name": f"drop_{dropped}", "p": p, "inputs": [dropped]})
            layer["inputs"][1] = f"drop_{dropped}"
        inner.append(layer)
    block["layers"] = inner


def image_model(name, size=None):
    """cifar_cnn or resnet18 on images of size x size; resnet18 takes any."""
    spec = load(name)
    spec["inputs"][0]["shape"][1:] = [size or 32] * 2
    return spec


def classifier(name, blocks, vocabulary, length):
    """bert_classifier on shorter texts."""
    spec = load(name)
    for tensor in spec["inputs"]:
        tensor["shape"] = [length] * len(tensor["shape"])  # the label has none
    for layer in layers_of(spec):
        if layer.get("padding_idx") is not None:
            layer["num_embeddings"] = vocabulary
        elif "num_positions" in layer:
            layer["num_positions"] = length
        elif "repeat" in layer:
            layer["repeat"] = blocks
    return spec
