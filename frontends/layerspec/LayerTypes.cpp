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

static std::vector<NullArgument> placement() {
  return {{"device", "the plan decides where a layer runs", "remove it"},
          {"dtype", "the blocks fp16 and bf16 of the configuration decide", "remove it"}};
}

static std::vector<LayerType> linearTypes() {
  return {{.name = "Linear",
           .arguments = {required("in_features"), required("out_features"), flag("bias", true)},
           .nullArguments = placement(),
           .canTie = true}};
}

static std::vector<LayerType> activationTypes() {
  return {
      {.name = "ReLU", .arguments = {flag("inplace", false)}},
      {.name = "Tanh"},
      {.name = "Sigmoid"},
      {.name = "SiLU", .arguments = {flag("inplace", false)}},
      {.name = "SwiGLU", .fewestInputs = 2, .mostInputs = 2},
      {.name = "GELU",
       .arguments = {{.name = "approximate", .defaultValue = std::string("none"), .choices = "none|tanh"}}}};
}

/// Of a window, a dimension's number or a size in a list.
constexpr std::int64_t kLargestSize = std::int64_t(1) << 24;

static ArgumentType list(std::string_view name, std::vector<std::int64_t> defaultValue, std::int64_t minimum,
                         std::size_t shortest, std::size_t longest) {
  return {.name = name,
          .defaultValue = std::move(defaultValue),
          .minimum = minimum,
          .maximum = kLargestSize,
          .shortest = shortest,
          .longest = longest};
}
static ArgumentType requiredList(std::string_view name, std::int64_t minimum, std::size_t shortest,
                                 std::size_t longest) {
  ArgumentType argument = list(name, {}, minimum, shortest, longest);
  argument.isRequired = true;
  return argument;
}
static ArgumentType number(std::string_view name, double defaultValue, double lowest, double highest) {
  return {.name = name, .defaultValue = defaultValue, .lowest = lowest, .highest = highest};
}

/// A mask of tokens: 1 = a token, 0 = padding.
static ArgumentType mask(std::string_view name, bool isRequired) {
  return {.name = name, .defaultValue = std::string(), .isRequired = isRequired, .namesFeature = true};
}
static ArgumentType requiredInteger(std::string_view name, std::int64_t minimum) {
  return {.name = name, .defaultValue = std::int64_t(0), .isRequired = true, .minimum = minimum};
}

/// Flatten as torch.nn has it; Reshape, Permute, Concat, Narrow, Select, Mean and Sum as the functions of
/// torch.
static std::vector<LayerType> shapeTypes() {
  return {{.name = "Flatten", .arguments = {integer("start_dim", 1), integer("end_dim", -1)}},
          {.name = "Reshape", .arguments = {requiredList("shape", -1, 1, 7)}},
          {.name = "Permute", .arguments = {requiredList("dims", 0, 1, 8)}},
          {.name = "Narrow",
           .arguments = {requiredInteger("dim", -8), requiredInteger("start", INT32_MIN),
                         requiredInteger("length", 1)}},
          {.name = "Select", .arguments = {requiredInteger("dim", -8), requiredInteger("index", INT32_MIN)}},
          {.name = "Concat", .arguments = {integer("dim", 1)}, .fewestInputs = 2, .mostInputs = 8},
          {.name = "Mean", .arguments = {requiredList("dim", -8, 1, 7), flag("keepdim", false)}},
          {.name = "Sum", .arguments = {requiredList("dim", -8, 1, 7), flag("keepdim", false)}},
          {.name = "MaskedMean", .arguments = {mask("mask", true)}}};
}

/// Elementwise arithmetic with broadcasting, and torch.matmul.
static std::vector<LayerType> arithmeticTypes() {
  std::vector<LayerType> types;
  for (std::string_view name : {"Add", "Subtract", "Multiply", "Divide", "MatMul"})
    types.push_back({.name = name, .fewestInputs = 2, .mostInputs = 2});
  return types;
}

static std::vector<LayerType> convolutionTypes() {
  const ArgumentType zeros{.name = "padding_mode",
                           .defaultValue = std::string("zeros"),
                           .choices = "zeros|reflect|replicate|circular",
                           .defaultOnly = "this version pads with zeros",
                           .instead = "use \"zeros\""};
  ArgumentType ceil = flag("ceil_mode", false), indices = flag("return_indices", false);
  ceil.defaultOnly = "this version rounds sizes down";
  ceil.instead = "remove it, or pad the input";
  indices.defaultOnly = "a layer has one result";
  indices.instead = "remove it";
  // 0 stands for the kernel's size.
  const ArgumentType poolStride = list("stride", {0, 0}, 0, 2, 2), padding = list("padding", {0, 0}, 0, 2, 2);
  return {{.name = "Conv2d",
           .arguments = {required("in_channels"), required("out_channels"),
                         requiredList("kernel_size", 1, 2, 2), list("stride", {1, 1}, 1, 2, 2), padding,
                         list("dilation", {1, 1}, 1, 2, 2), integer("groups", 1), flag("bias", true), zeros},
           .canTie = true},
          {.name = "MaxPool2d",
           .arguments = {requiredList("kernel_size", 1, 2, 2), poolStride, padding,
                         list("dilation", {1, 1}, 1, 2, 2), indices, ceil}},
          {.name = "AvgPool2d",
           .arguments = {requiredList("kernel_size", 1, 2, 2), poolStride, padding, ceil,
                         flag("count_include_pad", true), integer("divisor_override", 0)}},
          {.name = "AdaptiveAvgPool2d", .arguments = {requiredList("output_size", 1, 2, 2)}}};
}

static std::vector<LayerType> channelNormTypes() {
  ArgumentType tracks = flag("track_running_stats", true);
  tracks.defaultOnly = "without them evaluation would depend on which samples share a micro-batch";
  tracks.instead = "use GroupNorm, which needs no statistics of other samples";
  std::vector<ArgumentType> batchNorm = {required("num_features"), number("eps", 1e-5, 0, 1),
                                         number("momentum", 0.1, 0, 1), flag("affine", true), tracks};
  return {{.name = "BatchNorm1d", .arguments = batchNorm},
          {.name = "BatchNorm2d", .arguments = batchNorm},
          {.name = "SyncBatchNorm",
           .arguments = batchNorm,
           .nullArguments = {{"process_group", "all replicas share the statistics", "remove it"}}},
          {.name = "GroupNorm",
           .arguments = {required("num_groups"), required("num_channels"), number("eps", 1e-5, 0, 1),
                         flag("affine", true)}}};
}

static std::vector<LayerType> dropoutTypes() {
  return {{.name = "Dropout", .arguments = {number("p", 0.5, 0, 1), flag("inplace", false)}}};
}

static std::vector<LayerType> transformerTypes() {
  ArgumentType heads = integer("num_key_value_heads", 0);
  heads.minimum = 0;
  ArgumentType power = number("p", 2, 0, 1e6);
  power.defaultOnly = "this version divides by the Euclidean norm";
  power.instead = "remove it";
  return {
      {.name = "LayerNorm",
       .arguments = {requiredList("normalized_shape", 1, 1, 7), number("eps", 1e-5, 0, 1),
                     flag("elementwise_affine", true), flag("bias", true)}},
      {.name = "RMSNorm",
       .arguments = {requiredList("normalized_shape", 1, 1, 7), number("eps", 1.1920928955078125e-07, 0, 1),
                     flag("elementwise_affine", true)}},
      {.name = "Softmax", .arguments = {integer("dim", -1)}},
      {.name = "Normalize", .arguments = {power, integer("dim", 1), number("eps", 1e-12, 0, 1)}},
      {.name = "LearnedPositions",
       .arguments = {required("num_positions"), required("embedding_dim"), number("init_std", 1, 0, 1e6)},
       .canTie = true},
      {.name = "ScaledDotProductAttention",
       .arguments = {required("num_heads"), heads, flag("is_causal", false), number("scale", 0, 0, 1e6),
                     number("rotary_base", 0, 0, 1e9), number("dropout_p", 0, 0, 1), mask("key_mask", false)},
       .fewestInputs = 1,
       .mostInputs = 3}};
}

static std::vector<LayerType> embeddingTypes() {
  std::vector<NullArgument> nulls = placement();
  nulls.push_back({"max_norm", "the forward pass changes no weights", "remove it"});
  ArgumentType byFrequency = flag("scale_grad_by_freq", false), sparse = flag("sparse", false);
  byFrequency.defaultOnly = "this version adds the gradients of a token's uses";
  sparse.defaultOnly = "gradients are dense";
  byFrequency.instead = sparse.instead = "remove it";
  ArgumentType padding = integer("padding_idx", kNoPadding);
  padding.isNullable = true;
  return {{.name = "Embedding",
           .arguments = {required("num_embeddings"), required("embedding_dim"), padding, byFrequency, sparse,
                         number("init_std", 1, 0, 1e6)},
           .nullArguments = nulls,
           .inputType = "i32",
           .canTie = true}};
}

static std::vector<LayerType> sequentialTypes() {
  return {{.name = kSequential, .fewestInputs = 1, .mostInputs = 8, .inputType = ""}};
}

static std::vector<LayerType> lossTypes() {
  const std::vector<NullArgument> oldReduction{
      {"size_average", "torch has replaced it by reduction", "remove it"},
      {"reduce", "torch has replaced it by reduction", "remove it"},
  };
  std::vector<NullArgument> crossEntropyNulls = oldReduction;
  crossEntropyNulls.push_back({"weight", "this version weighs all classes the same", "remove it"});
  std::vector<NullArgument> bceNulls = oldReduction;
  bceNulls.push_back({"weight", "this version weighs all elements the same", "remove it"});
  bceNulls.push_back({"pos_weight", "this version weighs both answers the same", "remove it"});
  const ArgumentType smoothing{.name = "label_smoothing", .defaultValue = 0.0, .lowest = 0, .highest = 1};
  return {{.name = "CrossEntropyLoss",
           .isLoss = true,
           .labelType = "i32",
           .arguments = {meanReduction(), integer("ignore_index", -100), smoothing},
           .nullArguments = crossEntropyNulls},
          {.name = "MSELoss",
           .isLoss = true,
           .labelType = "f32",
           .arguments = {meanReduction()},
           .nullArguments = oldReduction},
          {.name = "BCEWithLogitsLoss",
           .isLoss = true,
           .labelType = "f32",
           .arguments = {meanReduction()},
           .nullArguments = bceNulls}};
}

const std::vector<LayerType> &layerTypes() {
  static const std::vector<LayerType> kTypes = [] {
    std::vector<LayerType> all;
    for (const auto &family : {linearTypes(), activationTypes(), arithmeticTypes(), shapeTypes(),
                               convolutionTypes(), channelNormTypes(), dropoutTypes(), transformerTypes(),
                               embeddingTypes(), sequentialTypes(), lossTypes()})
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
