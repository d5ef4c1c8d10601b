#include "frontends/layerspec/ModelSpec.h"

#include "frontends/json/NearestName.h"
#include "frontends/layerspec/Arguments.h"
#include "frontends/layerspec/ModelCheck.h"
#include "frontends/layerspec/ModelReader.h"

#include <algorithm>
#include <functional>

namespace stagewright {

using json::Value;

/// Keys that the language of model files reserves and that this version does not read.
static constexpr std::string_view kLaterKeys[] = {"forward"};

void ModelReader::fail(json::Position position, std::string what, std::string advice) {
  if (!error)
    error = document.error(position, std::move(what), std::move(advice));
}

bool ModelReader::isObject(const Value &value, std::string_view owner) {
  if (value.kind != Value::Kind::Object)
    fail(value.position, std::string(owner) + " must be an object, not " + json::shown(value),
         "write { \"key\": value, ... }");
  return value.kind == Value::Kind::Object;
}

void ModelReader::checkKeys(const Value &object, std::string_view owner,
                            const std::vector<std::string_view> &known, const LayerType *type) {
  std::vector<std::string_view> names = known;
  if (type) {
    for (const ArgumentType &argument : type->arguments)
      names.push_back(argument.name);
    for (const NullArgument &argument : type->nullArguments)
      names.push_back(argument.name);
  }
  for (const json::Member &member : object.members) {
    if (std::find(names.begin(), names.end(), member.key) != names.end())
      continue;
    bool isLater =
        type && std::find(std::begin(kLaterKeys), std::end(kLaterKeys), member.key) != std::end(kLaterKeys);
    if (isLater)
      return fail(member.position,
                  "this version does not read the key " + json::inQuotes(member.key) + " of a layer",
                  "the layer's type says what it computes: tie an Embedding and a Linear, for example");
    return fail(member.position, "unknown key " + json::inQuotes(member.key) + " in " + std::string(owner),
                "did you mean " + json::inQuotes(json::nearestName(member.key, names)) + "? Known are " +
                    json::joined(names));
  }
}

const Value *ModelReader::require(const Value &object, std::string_view key, std::string_view owner) {
  const Value *value = object.find(key);
  if (!value)
    fail(object.position, std::string(owner) + " has no " + json::inQuotes(key), "add it");
  return value;
}

const std::vector<Value> *ModelReader::listOf(const Value &object, std::string_view key,
                                              std::string_view owner) {
  const Value *value = require(object, key, owner);
  if (!value)
    return nullptr;
  if (value->kind == Value::Kind::Array && !value->items.empty())
    return &value->items;
  fail(value->position,
       json::inQuotes(key) + " must be a list of at least one, not " +
           (value->kind == Value::Kind::Array ? "an empty one" : json::shown(*value)),
       "write [ ... ]");
  return nullptr;
}

std::string ModelReader::text(const Value *value, std::string_view key) {
  if (value && value->kind != Value::Kind::String)
    fail(value->position, json::inQuotes(key) + " must be a string, not " + json::shown(*value),
         "write it in double quotes");
  return value ? value->string : "";
}

std::string ModelReader::namedPart(const Value &object, std::string_view key, EntryPosition &entry) {
  const Value *value = object.find(key);
  if (value)
    entry.parts[std::string(key)] = source(value->position);
  return text(value, key);
}

double ModelReader::number(const Value &object, std::string_view key, double defaultValue) {
  const Value *value = object.find(key);
  if (!value)
    return defaultValue;
  if (!value->isNumber())
    fail(value->position, json::inQuotes(key) + " must be a number, not " + json::shown(*value),
         "write it without quotes, or remove it");
  return value->number;
}

void ModelReader::readInput(const Value &value) {
  if (!isObject(value, "an input"))
    return;
  checkKeys(value, "an input", {"name", "role", "dtype", "shape", "scale", "mean", "deviation"});
  for (std::string_view key : {"name", "role", "dtype", "shape"})
    require(value, key, "this input");
  InputSpec input;
  input.position = source(value.position);
  input.name = namedPart(value, "name", input);
  input.role = namedPart(value, "role", input);
  input.dtype = namedPart(value, "dtype", input);
  if (error)
    return;
  readShape(*value.find("shape"), input);
  for (std::string_view key : {"scale", "mean", "deviation"})
    if (const Value *given = value.find(key)) {
      input.parts[std::string(key)] = source(given->position);
      if (input.role == "label")
        fail(given->position, json::inQuotes(key) + " belongs to a feature, and this is a label",
             "remove it");
    }
  input.scale = number(value, "scale", 1);
  input.mean = number(value, "mean", 0);
  input.deviation = number(value, "deviation", 1);
  spec.inputs.push_back(std::move(input));
}

void ModelReader::readShape(const Value &shape, InputSpec &input) {
  input.parts["shape"] = source(shape.position);
  if (shape.kind != Value::Kind::Array)
    return fail(shape.position,
                "\"shape\" must be a list of sizes, that of one sample, not " + json::shown(shape),
                "for example [1, 28, 28]");
  for (const Value &size : shape.items) {
    if (size.kind != Value::Kind::Integer)
      return fail(size.position, "a size must be an integer from 1 to 2147483647, not " + json::shown(size),
                  "give the shape of one sample, without the batch");
    input.parts["shape/" + std::to_string(input.shape.size())] = source(size.position);
    input.shape.push_back(size.integer);
  }
}

/// Types of the layers and of the layers in them, with their places.
static void listTypes(const std::vector<Value> &values,
                      const std::function<SourcePosition(json::Position)> &at,
                      std::vector<std::pair<std::string, SourcePosition>> &types) {
  for (const Value &value : values) {
    if (const Value *type = value.find("type"); type && type->kind == Value::Kind::String)
      types.emplace_back(type->string, at(type->position));
    if (const Value *inner = value.find("layers"); inner && inner->kind == Value::Kind::Array)
      listTypes(inner->items, at, types);
  }
}

void ModelReader::readLayers(const std::vector<Value> &values) {
  std::vector<std::pair<std::string, SourcePosition>> types;
  listTypes(
      values, [this](json::Position position) { return source(position); }, types);
  if (Result<void> known = checkLayerTypes(types); !known)
    error = known.takeError();
  const InputSpec *feature = firstInput("feature");
  for (std::size_t i = 0; i < values.size() && !error; ++i)
    readLayer(values[i], i, feature ? feature->name : "", spec.layers);
}

void ModelReader::readLayer(const Value &value, std::size_t index, const std::string &first,
                            std::vector<LayerSpec> &list) {
  if (!isObject(value, "a layer"))
    return;
  LayerSpec layer;
  require(value, "type", "this layer");
  layer.type = namedPart(value, "type", layer);
  if (error)
    return;
  const LayerType *type = findLayerType(layer.type);
  const bool isSequential = layer.type == kSequential;
  if (isSequential)
    checkKeys(value, layer.type, {"type", "name", "inputs", "trainable", "layers", "repeat"}, type);
  else
    checkKeys(value, layer.type, {"type", "name", "inputs", "tied", "trainable"}, type);
  layer.position = source(value.position);
  layer.name = value.find("name") ? namedPart(value, "name", layer) : std::to_string(index);
  layer.tied = namedPart(value, "tied", layer);
  if (!error && value.find("tied") && layer.tied.empty())
    fail(value.find("tied")->position, "\"tied\" must not be empty",
         "give layers that share a weight one key");
  readLayerInputs(value, list.empty() ? first : list.back().name, layer);
  readArguments(value, *type, layer.arguments);
  if (const Value *trainable = value.find("trainable")) {
    if (trainable->kind != Value::Kind::Boolean)
      return fail(trainable->position, "\"trainable\" must be true or false, not " + json::shown(*trainable),
                  "false keeps the layer's parameters as they are");
    layer.trainable = trainable->boolean;
  }
  if (isSequential)
    readSequential(value, layer);
  if (error)
    return;
  if (const Value *repeat = value.find("repeat"))
    return appendCopies(std::move(layer), *repeat, list);
  list.push_back(std::move(layer));
}

void ModelReader::readSequential(const Value &value, LayerSpec &layer) {
  if (++depth > kDeepest)
    return fail(value.position, "layers are nested more than " + std::to_string(kDeepest) + " deep",
                "put them into one list");
  const std::vector<Value> *inner = listOf(value, "layers", "this Sequential");
  for (std::size_t i = 0; inner && i < inner->size() && !error; ++i)
    readLayer((*inner)[i], i, "input", layer.layers);
  --depth;
}

static std::size_t layersIn(const LayerSpec &layer) {
  std::size_t count = layer.layers.size();
  for (const LayerSpec &inner : layer.layers)
    count += layersIn(inner);
  return count;
}

/// "h" repeated three times is h.0, h.1, h.2, each reading the one before.
void ModelReader::appendCopies(LayerSpec layer, const Value &repeat, std::vector<LayerSpec> &list) {
  if (repeat.kind != Value::Kind::Integer || repeat.integer < 1 || repeat.integer > kMostCopies)
    return fail(repeat.position,
                "\"repeat\" must be an integer from 1 to " + std::to_string(kMostCopies) + ", not " +
                    json::shown(repeat),
                "say how often the layers follow each other");
  copied += std::size_t(repeat.integer) * (1 + layersIn(layer));
  if (copied > kMostCopies)
    return fail(repeat.position, "repetitions make more than " + std::to_string(kMostCopies) + " layers",
                "repeat less");
  const std::string name = layer.name;
  for (std::int64_t i = 0; i < repeat.integer; ++i) {
    layer.name = name + "." + std::to_string(i);
    list.push_back(layer);
    layer.inputs = {layer.name};
  }
}

void ModelReader::readLayerInputs(const Value &value, const std::string &before, LayerSpec &layer) {
  if (!value.find("inputs")) {
    if (!before.empty())
      layer.inputs = {before};
    return;
  }
  const std::vector<Value> *inputs = listOf(value, "inputs", "this layer");
  for (std::size_t i = 0; inputs && i < inputs->size(); ++i) {
    layer.parts["inputs/" + std::to_string(i)] = source((*inputs)[i].position);
    layer.inputs.push_back(text(&(*inputs)[i], "inputs"));
  }
}

const InputSpec *ModelReader::firstInput(std::string_view role) const {
  auto found = std::find_if(spec.inputs.begin(), spec.inputs.end(),
                            [&](const InputSpec &input) { return input.role == role; });
  return found == spec.inputs.end() ? nullptr : &*found;
}

void ModelReader::readArguments(const Value &value, const LayerType &type,
                                std::map<std::string, Argument> &arguments) {
  for (const ArgumentType &argument : type.arguments) {
    const Value *given = value.find(argument.name);
    if (!given && argument.isRequired)
      return fail(value.position, std::string(type.name) + " has no " + json::inQuotes(argument.name),
                  "add it");
    std::optional<ArgumentValue> read = given ? argumentFrom(*given, argument) : argument.defaultValue;
    if (!read) {
      error =
          error ? error : argumentError(document.place(given->position), type, argument, json::shown(*given));
      return;
    }
    arguments.emplace(argument.name, Argument{*read, source(given ? given->position : value.position)});
  }
  for (const NullArgument &argument : type.nullArguments)
    if (const Value *given = value.find(argument.name); given && given->kind != Value::Kind::Null)
      fail(given->position,
           json::inQuotes(argument.name) + " of " + std::string(type.name) +
               " is refused: " + std::string(argument.why),
           std::string(argument.instead));
}

/// One loss, or a list of them.
void ModelReader::readLosses(const Value &value) {
  if (value.kind != Value::Kind::Array)
    return readLoss(value);
  if (value.items.empty())
    fail(value.position, "\"loss\" is an empty list", "add a loss, or remove the key");
  for (std::size_t i = 0; i < value.items.size() && !error; ++i)
    readLoss(value.items[i]);
}

void ModelReader::readLoss(const Value &value) {
  if (!isObject(value, "a loss"))
    return;
  LossSpec loss;
  require(value, "type", "the loss");
  loss.type = namedPart(value, "type", loss);
  if (error)
    return;
  if (Result<void> known = checkLossType(loss.type, loss.partPosition("type")); !known) {
    error = known.takeError();
    return;
  }
  const LayerType *type = findLayerType(loss.type);
  checkKeys(value, loss.type, {"type", "name", "inputs", "loss_weight"}, type);
  readArguments(value, *type, loss.arguments);
  loss.position = source(value.position);
  loss.name = value.find("name") ? namedPart(value, "name", loss) : loss.type;
  loss.weight = number(value, "loss_weight", 1);
  if (const Value *weight = value.find("loss_weight"))
    loss.parts["loss_weight"] = source(weight->position);
  readLayerInputs(value, "", loss);
  const InputSpec *label = firstInput("label");
  if (loss.inputs.empty())
    loss.inputs = {spec.layers.back().name, label ? label->name : ""};
  spec.losses.push_back(std::move(loss));
}

void ModelReader::readMetrics(const Value &object) {
  const Value *metrics = object.find("metrics");
  if (!metrics)
    return;
  if (metrics->kind != Value::Kind::Array)
    return fail(metrics->position, "\"metrics\" must be a list, not " + json::shown(*metrics),
                "[\"accuracy\"] or []");
  for (const Value &metric : metrics->items) {
    std::string name = text(&metric, "metrics");
    if (name != "accuracy")
      fail(metric.position, "unknown metric " + json::inQuotes(name), "known is \"accuracy\"");
    if (spec.accuracy)
      fail(metric.position, "the metric \"accuracy\" occurs twice", "remove one of the two");
    spec.parts["accuracy"] = source(metric.position);
    spec.accuracy = true;
  }
}

Result<ModelSpec> ModelReader::read() {
  const Value &root = document.root;
  spec.sha256 = document.sha256;
  spec.position = source(root.position);
  if (isObject(root, "a model file"))
    checkKeys(root, "the model file", {"name", "inputs", "layers", "loss", "metrics", "$schema"});
  if (!error) {
    require(root, "name", "the model file");
    spec.name = namedPart(root, "name", spec);
  }
  const std::vector<Value> *inputs = error ? nullptr : listOf(root, "inputs", "the model file");
  if (inputs)
    spec.parts["inputs"] = source(root.find("inputs")->position);
  for (std::size_t i = 0; inputs && i < inputs->size() && !error; ++i)
    readInput((*inputs)[i]);
  const std::vector<Value> *layers = error ? nullptr : listOf(root, "layers", "the model file");
  if (layers) {
    spec.parts["layers"] = source(root.find("layers")->position);
    readLayers(*layers);
  }
  const Value *loss = error ? nullptr : root.find("loss"); // without one: only to be evaluated
  if (loss)
    readLosses(*loss);
  if (!error)
    readMetrics(root);
  if (error)
    return *std::move(error);
  if (Result<void> checked = check(spec); !checked)
    return checked.takeError();
  return std::move(spec);
}

Result<ModelSpec> readModelSpec(const std::string &path) {
  Result<json::Document> document = json::readDocument(path);
  if (!document)
    return document.takeError();
  return ModelReader(*document).read();
}

Result<ModelSpec> parseModelSpec(const std::string &name, const std::string &text) {
  Result<json::Document> document = json::parseDocument(name, text);
  if (!document)
    return document.takeError();
  return ModelReader(*document).read();
}

} // namespace stagewright
