#include "frontends/layerspec/LayerTypes.h"

#include <string>

namespace stagewright {

static ArgumentType required(std::string_view name) {
  return {.name = name, .defaultValue = std::int64_t(0), .isRequired = true, .minimum = 1};
}
static ArgumentType integer(std::string_view name, std::int64_t defaultValue) {
  return {.name = name, .defaultValue = defaultValue};
}
static ArgumentType flag(std::string_view name, bool defaultValue) {
  return {.name = name, .defaultValue = defaultValue};
}
static ArgumentType meanReduction() {
  return {.name = "reduction",
          .defaultValue = std::string("mean"),
          .choices = "mean|sum|none",
          .defaultOnly = "a step's loss is the mean over its samples",
          .instead = "use \"mean\" and scale the learning rate instead"};
}

static std::vector<LayerType> linearTypes() {
  const std::vector<NullArgument> placement{
      {"device", "the plan decides where a layer runs", "remove it"},
      {"dtype", "this version computes in fp32 alone", "remove it"},
  };
  return {{.name = "Linear",
           .arguments = {required("in_features"), required("out_features"), flag("bias", true)},
           .nullArguments = placement}};
}

static std::vector<LayerType> activationTypes() {
  return {
      {.name = "ReLU", .arguments = {flag("inplace", false)}},
      {.name = "Tanh"},
      {.name = "GELU",
       .arguments = {{.name = "approximate", .defaultValue = std::string("none"), .choices = "none|tanh"}}}};
}

static std::vector<LayerType> shapeTypes() {
  return {{.name = "Flatten", .arguments = {integer("start_dim", 1), integer("end_dim", -1)}}};
}

static std::vector<LayerType> lossTypes() {
  const std::vector<NullArgument> oldReduction{
      {"size_average", "torch has replaced it by reduction", "remove it"},
      {"reduce", "torch has replaced it by reduction", "remove it"},
  };
  std::vector<NullArgument> crossEntropyNulls = oldReduction;
  crossEntropyNulls.push_back({"weight", "this version weighs all classes the same", "remove it"});
  ArgumentType ignoreIndex = integer("ignore_index", -100);
  ignoreIndex.defaultOnly = "this version counts every label";
  ignoreIndex.instead = "remove it; a label outside [0, classes) is refused when the data is read";
  const ArgumentType smoothing{.name = "label_smoothing",
                               .defaultValue = 0.0,
                               .lowest = 0,
                               .highest = 1,
                               .defaultOnly = "this version has no label smoothing",
                               .instead = "remove it"};
  return {{.name = "CrossEntropyLoss",
           .isLoss = true,
           .labelType = "i32",
           .arguments = {meanReduction(), ignoreIndex, smoothing},
           .nullArguments = crossEntropyNulls},
          {.name = "MSELoss",
           .isLoss = true,
           .labelType = "f32",
           .arguments = {meanReduction()},
           .nullArguments = oldReduction}};
}

const std::vector<LayerType> &layerTypes() {
  static const std::vector<LayerType> kTypes = [] {
    std::vector<LayerType> all;
    for (const auto &family : {linearTypes(), activationTypes(), shapeTypes(), lossTypes()})
      all.insert(all.end(), family.begin(), family.end());
    return all;
  }();
  return kTypes;
}

const LayerType *findLayerType(std::string_view name) {
  for (const LayerType &type : layerTypes())
    if (type.name == name)
      return &type;
  return nullptr;
}

std::vector<std::string_view> layerTypeNames(bool losses) {
  std::vector<std::string_view> names;
  for (const LayerType &type : layerTypes())
    if (type.isLoss == losses)
      names.push_back(type.name);
  return names;
}

} // namespace stagewright
