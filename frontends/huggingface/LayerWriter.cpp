// What the architectures have in common.
#include "frontends/huggingface/Architectures.h"
#include "frontends/layerspec/LayerTypes.h"

#include <algorithm>

namespace stagewright {

LayerSpec &LayerWriter::add(const std::string &type, const std::string &name, Arguments arguments,
                            std::vector<std::string> inputs) {
  LayerSpec layer;
  layer.position = position;
  layer.type = type;
  layer.name = name;
  layer.inputs = inputs.empty() ? std::vector<std::string>{last} : std::move(inputs);
  layer.initialDeviation = deviation;
  for (const ArgumentType &argument : findLayerType(type)->arguments)
    layer.arguments[std::string(argument.name)] = {argument.defaultValue, position};
  for (const auto &[key, value] : arguments)
    layer.arguments[key] = {value, position};
  last = name;
  layers.push_back(std::move(layer));
  return layers.back();
}

void LayerWriter::addDropout(const std::string &name, double p) {
  if (p > 0)
    add("Dropout", name, {{"p", p}});
}

void addTokensAndLabels(FolderConfig &config, ModelSpec &model, std::int64_t length) {
  const auto input = [&](const char *name, const char *role) {
    InputSpec input;
    input.position = config.position("architectures");
    input.name = name;
    input.role = role;
    input.dtype = "i32";
    input.shape = {length};
    model.inputs.push_back(std::move(input));
  };
  input("input_ids", "feature");
  input("labels", "label");
  model.losses.emplace_back().type = "CrossEntropyLoss";
  model.accuracy = true;
}

std::int64_t sequenceLength(FolderConfig &config, const FolderOptions &options, std::string_view key,
                            std::int64_t positions) {
  if (!options.sequenceLength)
    return positions;
  if (*options.sequenceLength > positions)
    config.refuse(key,
                  "is " + std::to_string(positions) + ", fewer than --sequence-length " +
                      std::to_string(*options.sequenceLength),
                  "choose at most " + std::to_string(positions));
  return std::min(*options.sequenceLength, positions);
}

void checkDivides(FolderConfig &config, std::string_view key, std::int64_t divisor, std::string_view of,
                  std::int64_t number) {
  if (number % divisor != 0)
    config.refuse(key,
                  "is " + std::to_string(divisor) + ", which does not divide " + json::inQuotes(of) + ", " +
                      std::to_string(number),
                  "heads have one size: correct one of the two");
}

/// Names of transformers' ACT2FN that layer types compute.
struct Activation {
  std::string_view name, type, approximate;
};
static constexpr Activation kActivations[] = {
    {"gelu", "GELU", "none"},        {"gelu_new", "GELU", "tanh"}, {"gelu_pytorch_tanh", "GELU", "tanh"},
    {"gelu_python", "GELU", "none"}, {"relu", "ReLU", ""},         {"silu", "SiLU", ""},
    {"swish", "SiLU", ""},           {"tanh", "Tanh", ""},         {"sigmoid", "Sigmoid", ""}};

static const Activation *findActivation(const std::string &name) {
  const auto *found = std::find_if(std::begin(kActivations), std::end(kActivations),
                                   [&](const Activation &one) { return one.name == name; });
  return found == std::end(kActivations) ? nullptr : found;
}

std::string readActivation(FolderConfig &config, std::string_view key, std::string_view otherwise) {
  std::string name = config.text(key, otherwise);
  if (findActivation(name))
    return name;
  std::string known;
  for (const Activation &one : kActivations)
    known += (known.empty() ? "" : ", ") + std::string(one.name);
  config.refuse(key, "is " + json::inQuotes(name), "use one of " + known);
  return std::string(otherwise);
}

void addActivation(LayerWriter &layers, const std::string &name, const std::string &function) {
  const Activation &activation = *findActivation(function);
  if (activation.approximate.empty())
    layers.add(std::string(activation.type), name);
  else
    layers.add(std::string(activation.type), name, {{"approximate", std::string(activation.approximate)}});
}

} // namespace stagewright
