#include "frontends/layerspec/ModelSpec.h"

#include "frontends/json/NearestName.h"
#include "frontends/layerspec/ModelReader.h"

#include <algorithm>

namespace stagewright {

using json::Value;

/// Keys that the language of model files reserves and that this version does not read.
static constexpr std::string_view kLaterKeys[] = {"tied", "forward", "repeat"};

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
                  "write every layer out");
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

std::string ModelReader::name(const Value *value) {
  std::string name = text(value, "name");
  if (!value || error)
    return name;
  if (name.empty())
    fail(value->position, "a name must not be empty", "give a name, or leave the key out of a layer");
  for (unsigned char c : name)
    if (c == '/' || c < 0x20 || c == 0x7F)
      fail(value->position, "the name " + json::inQuotes(name) + " contains a slash or a control character",
           "names are parts of parameter names, such as fc1.weight");
  return name;
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

void ModelReader::declare(const std::string &name, json::Position position) {
  auto [earlier, isNew] = declared.try_emplace(name, position);
  if (!isNew)
    fail(position,
         "the name " + json::inQuotes(name) + " occurs twice, first at " + document.place(earlier->second),
         "give every layer and every input a name of its own");
}

void ModelReader::readInput(const Value &value) {
  if (!isObject(value, "an input"))
    return;
  checkKeys(value, "an input", {"name", "role", "dtype", "shape", "scale", "mean", "deviation"});
  InputSpec input;
  const Value *nameValue = require(value, "name", "this input"), *role = require(value, "role", "this input");
  const Value *dtype = require(value, "dtype", "this input"), *shape = require(value, "shape", "this input");
  input.name = name(nameValue);
  input.role = text(role, "role");
  input.dtype = text(dtype, "dtype");
  input.position = source(value.position);
  if (error)
    return;
  declare(input.name, nameValue->position);
  if (input.role != "feature" && input.role != "label")
    fail(role->position, "the role must be \"feature\" or \"label\", not " + json::inQuotes(input.role),
         "a feature is read by the first layer, a label by the loss");
  if (input.dtype != "f32" && (input.dtype != "i32" || input.role != "label"))
    fail(dtype->position, "the dtype of a " + input.role + " cannot be " + json::inQuotes(input.dtype),
         "use \"f32\", or \"i32\" for a label of classes; sources of bytes are converted to \"f32\"");
  if (shape->kind != Value::Kind::Array || shape->items.size() > 8)
    fail(shape->position, "\"shape\" must be a list of at most 8 sizes, that of one sample",
         "for example [1, 28, 28]");
  std::int64_t elements = 1;
  for (const Value &size : shape->items) {
    bool isSize = size.kind == Value::Kind::Integer && size.integer >= 1 && size.integer <= INT32_MAX;
    if (!isSize || (elements *= size.integer) > INT32_MAX)
      return fail(size.position,
                  isSize ? "a sample has more than 2147483647 elements"
                         : "a size must be an integer from 1 to 2147483647, not " + json::shown(size),
                  "give the shape of one sample, without the batch");
    input.shape.push_back(size.integer);
  }
  for (std::string_view key : {"scale", "mean", "deviation"})
    if (const Value *given = value.find(key); given && input.role == "label")
      fail(given->position, json::inQuotes(key) + " belongs to a feature, and this is a label", "remove it");
  input.scale = number(value, "scale", 1);
  input.mean = number(value, "mean", 0);
  input.deviation = number(value, "deviation", 1);
  if (input.deviation <= 0)
    fail(value.find("deviation")->position, "the deviation must be above 0",
         "give the standard deviation of the training samples, or remove it");
  spec.inputs.push_back(std::move(input));
}

void ModelReader::checkInputs(json::Position position) {
  auto count = [&](std::string_view role) {
    return std::count_if(spec.inputs.begin(), spec.inputs.end(),
                         [&](const InputSpec &i) { return i.role == role; });
  };
  if (count("feature") == 0)
    fail(position, "the model has no input of the role \"feature\"", "add one: the first layer reads it");
  if (count("label") != 1)
    fail(position,
         "the model has " + std::to_string(count("label")) +
             " inputs of the role \"label\", but the loss needs one",
         "keep the one that the loss reads");
}

void ModelReader::reportUnknownTypes(const std::vector<Value> &values) {
  constexpr std::size_t kNamed = 32;                // enough for one message
  std::vector<std::pair<std::string, int>> unknown; // in order of appearance
  std::optional<json::Position> first;
  for (const Value &value : values) {
    const Value *type = value.find("type");
    if (!type || type->kind != Value::Kind::String || findLayerType(type->string))
      continue;
    if (!first)
      first = type->position;
    auto it = std::find_if(unknown.begin(), unknown.end(),
                           [&](auto &entry) { return entry.first == type->string; });
    if (it == unknown.end() && unknown.size() == kNamed)
      continue;
    if (it == unknown.end())
      it = unknown.insert(it, {type->string, 0});
    ++it->second;
  }
  if (!first)
    return;
  std::string what = unknown.size() == 1 ? "unknown layer type " : "unknown layer types ", advice;
  std::vector<std::string_view> known = layerTypeNames(false);
  for (auto &[name, count] : unknown) {
    bool isFirst = name == unknown.front().first;
    what += (isFirst ? "" : ", ") + json::inQuotes(name) + " (" + std::to_string(count) +
            (count == 1 ? " layer)" : " layers)");
    advice += (isFirst ? "the nearest to " : ", to ") + json::inQuotes(name) + " is " +
              std::string(json::nearestName(name, known));
  }
  fail(*first, what, advice + "; known are " + json::joined(known));
}

void ModelReader::readLayers(const std::vector<Value> &values) {
  reportUnknownTypes(values);
  for (std::size_t index = 0; index < values.size() && !error; ++index)
    readLayer(values[index], index);
}

void ModelReader::readLayer(const Value &value, std::size_t index) {
  if (!isObject(value, "a layer"))
    return;
  const Value *typeValue = require(value, "type", "this layer");
  std::string typeName = text(typeValue, "type");
  const LayerType *type = findLayerType(typeName);
  if (error)
    return;
  if (type->isLoss)
    return fail(typeValue->position, typeName + " is a loss, not a layer", "write it under the key \"loss\"");
  checkKeys(value, typeName, {"type", "name", "inputs"}, type);
  LayerSpec layer;
  layer.type = typeName;
  layer.position = source(value.position);
  const Value *nameValue = value.find("name");
  layer.name = nameValue ? name(nameValue) : std::to_string(index);
  readLayerInputs(value, layer);
  readArguments(value, *type, layer.arguments);
  if (!error)
    declare(layer.name, nameValue ? nameValue->position : value.position);
  spec.layers.push_back(std::move(layer));
}

void ModelReader::readLayerInputs(const Value &value, LayerSpec &layer) {
  if (!value.find("inputs")) {
    auto feature =
        std::find_if(spec.inputs.begin(), spec.inputs.end(), [](auto &i) { return i.role == "feature"; });
    layer.inputs = {spec.layers.empty() ? feature->name : spec.layers.back().name};
    return;
  }
  const std::vector<Value> *inputs = listOf(value, "inputs", "this layer");
  if (!inputs)
    return;
  for (const Value &input : *inputs) {
    std::string name = text(&input, "inputs");
    bool isLabel = std::any_of(spec.inputs.begin(), spec.inputs.end(),
                               [&](const InputSpec &i) { return i.name == name && i.role == "label"; });
    if (isLabel)
      fail(input.position, "the input " + json::inQuotes(name) + " is a label, which the loss alone reads",
           "name a feature or an earlier layer");
    if (!declared.contains(name)) {
      std::vector<std::string_view> known;
      for (const InputSpec &i : spec.inputs)
        if (i.role == "feature")
          known.push_back(i.name);
      for (const LayerSpec &l : spec.layers)
        known.push_back(l.name);
      fail(input.position, "no earlier layer and no input is named " + json::inQuotes(name),
           "did you mean " + json::inQuotes(json::nearestName(name, known)) + "?");
    }
    layer.inputs.push_back(std::move(name));
  }
  if (layer.inputs.size() > 1)
    fail((*inputs)[1].position,
         layer.type + " reads one tensor, but \"inputs\" names " + std::to_string(layer.inputs.size()),
         "keep one of them");
}

std::optional<ArgumentValue> ModelReader::readArgument(const Value &value, const LayerType &type,
                                                       const ArgumentType &argument) {
  std::string wanted;
  if (std::holds_alternative<bool>(argument.defaultValue)) {
    if (value.kind == Value::Kind::Boolean)
      return value.boolean;
    wanted = "true or false";
  } else if (std::holds_alternative<std::int64_t>(argument.defaultValue)) {
    if (value.kind == Value::Kind::Integer && value.integer >= argument.minimum &&
        value.integer <= argument.maximum)
      return value.integer;
    wanted =
        "an integer from " + std::to_string(argument.minimum) + " to " + std::to_string(argument.maximum);
  } else if (std::holds_alternative<double>(argument.defaultValue)) {
    if (value.isNumber())
      return value.number;
    wanted = "a number";
  } else {
    std::string bars = "|" + std::string(argument.choices) + "|";
    bool isChoice = value.string.find('|') == std::string::npos &&
                    bars.find("|" + value.string + "|") != std::string::npos;
    if (value.kind == Value::Kind::String && isChoice)
      return value.string;
    wanted = "one of " + std::string(argument.choices);
  }
  fail(value.position,
       json::inQuotes(argument.name) + " of " + std::string(type.name) + " must be " + wanted + ", not " +
           json::shown(value),
       argument.isRequired ? "give its value" : "give such a value, or remove it for torch's default");
  return {};
}

void ModelReader::readArguments(const Value &value, const LayerType &type,
                                std::map<std::string, Argument> &arguments) {
  for (const ArgumentType &argument : type.arguments) {
    const Value *given = value.find(argument.name);
    if (!given && argument.isRequired)
      return fail(value.position, std::string(type.name) + " has no " + json::inQuotes(argument.name),
                  "add it");
    std::optional<ArgumentValue> read = given ? readArgument(*given, type, argument) : argument.defaultValue;
    if (!read)
      return;
    if (!argument.defaultOnly.empty() && *read != argument.defaultValue)
      return fail(given->position,
                  json::inQuotes(argument.name) + " of " + std::string(type.name) + " is " +
                      json::shown(*given) + ", but " + std::string(argument.defaultOnly),
                  std::string(argument.instead));
    arguments.emplace(argument.name, Argument{*read, source(given ? given->position : value.position)});
  }
  for (const NullArgument &argument : type.nullArguments)
    if (const Value *given = value.find(argument.name); given && given->kind != Value::Kind::Null)
      fail(given->position,
           json::inQuotes(argument.name) + " of " + std::string(type.name) +
               " is refused: " + std::string(argument.why),
           std::string(argument.instead));
}

void ModelReader::readLoss(const Value &value) {
  if (!isObject(value, "\"loss\""))
    return;
  const Value *typeValue = require(value, "type", "the loss");
  spec.loss.type = text(typeValue, "type");
  if (error)
    return;
  const LayerType *type = findLayerType(spec.loss.type);
  std::vector<std::string_view> losses = layerTypeNames(true);
  if (!type || !type->isLoss)
    return fail(typeValue->position,
                type ? spec.loss.type + " is a layer, not a loss"
                     : "unknown loss " + json::inQuotes(spec.loss.type),
                "did you mean " + json::inQuotes(json::nearestName(spec.loss.type, losses)) + "? Known are " +
                    json::joined(losses));
  checkKeys(value, spec.loss.type, {"type"}, type);
  readArguments(value, *type, spec.loss.arguments);
  auto label =
      std::find_if(spec.inputs.begin(), spec.inputs.end(), [](auto &input) { return input.role == "label"; });
  if (label->dtype != type->labelType)
    fail({label->position.line, label->position.column},
         "the label " + json::inQuotes(label->name) + " has the dtype " + label->dtype + ", but " +
             spec.loss.type + " reads " + std::string(type->labelType),
         "change the dtype of the label or the loss");
  spec.loss.name = "loss";
  spec.loss.position = source(value.position);
  spec.loss.inputs = {spec.layers.back().name, label->name};
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
    if (spec.loss.type != "CrossEntropyLoss")
      fail(metric.position, "\"accuracy\" counts correct classes, but " + spec.loss.type + " has no classes",
           "remove it or use CrossEntropyLoss");
    spec.accuracy = true;
  }
}

Result<ModelSpec> ModelReader::read() {
  const Value &root = document.root;
  spec.sha256 = document.sha256;
  if (isObject(root, "a model file"))
    checkKeys(root, "the model file", {"name", "inputs", "layers", "loss", "metrics", "$schema"});
  if (!error)
    spec.name = name(require(root, "name", "the model file"));
  const std::vector<Value> *inputs = error ? nullptr : listOf(root, "inputs", "the model file");
  for (std::size_t i = 0; inputs && i < inputs->size() && !error; ++i)
    readInput((*inputs)[i]);
  if (!error)
    checkInputs(root.find("inputs")->position);
  const std::vector<Value> *layers = error ? nullptr : listOf(root, "layers", "the model file");
  if (layers)
    readLayers(*layers);
  const Value *loss = error ? nullptr : require(root, "loss", "the model file");
  if (loss)
    readLoss(*loss);
  if (!error)
    readMetrics(root);
  if (error)
    return *std::move(error);
  return std::move(spec);
}

Result<ModelSpec> readModelSpec(const std::string &path) {
  Result<json::Document> document = json::readDocument(path);
  if (!document)
    return document.takeError();
  return ModelReader(*document).read();
}

} // namespace stagewright
