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

const std::vector<LayerType> &layerTypes() {
  static const std::vector<NullArgument> kPlacement{
      {"device", "the plan decides where a layer runs", "remove it"},
      {"dtype", "this version computes in fp32 alone", "remove it"},
  };
  static const std::vector<NullArgument> kOldReduction{
      {"size_average", "torch has replaced it by reduction", "remove it"},
      {"reduce", "torch has replaced it by reduction", "remove it"},
  };
  static const std::vector<LayerType> kTypes = [] {
    std::vector<NullArgument> crossEntropyNulls = kOldReduction;
    crossEntropyNulls.push_back({"weight", "this version weighs all classes the same", "remove it"});
    ArgumentType ignoreIndex = integer("ignore_index", -100);
    ignoreIndex.defaultOnly = "this version counts every label";
    ignoreIndex.instead = "remove it; a label outside [0, classes) is refused when the data is read";
    ArgumentType smoothing{.name = "label_smoothing",
                           .defaultValue = 0.0,
                           .defaultOnly = "this version has no label smoothing",
                           .instead = "remove it"};
    return std::vector<LayerType>{
        {"Linear",
         false,
         "",
         {required("in_features"), required("out_features"), flag("bias", true)},
         kPlacement},
        {"ReLU", false, "", {flag("inplace", false)}, {}},
        {"Tanh", false, "", {}, {}},
        {"GELU",
         false,
         "",
         {{.name = "approximate", .defaultValue = std::string("none"), .choices = "none|tanh"}},
         {}},
        {"Flatten", false, "", {integer("start_dim", 1), integer("end_dim", -1)}, {}},
        {"CrossEntropyLoss", true, "i32", {meanReduction(), ignoreIndex, smoothing}, crossEntropyNulls},
        {"MSELoss", true, "f32", {meanReduction()}, kOldReduction},
    };
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
