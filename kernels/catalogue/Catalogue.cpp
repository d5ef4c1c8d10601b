#include "catalogue/Catalogue.h"

#include "catalogue/Signature.h"

#include <algorithm>
#include <cmath>

namespace stagewright::catalogue {

namespace {

/// Text as a template argument.
template <std::size_t Size>
struct Text {
  char data[Size];
  consteval Text(const char (&text)[Size]) { std::copy_n(text, Size, data); }
  constexpr std::string_view view() const { return {data, Size - 1}; }
};

template <Text Name, Text Signature>
Result<void> checkShapesOf(std::span<const Shape> shapes) {
  return matchShapes(Name.view(), Signature.view(), shapes);
}

using Workspace = std::size_t (*)(std::span<const Shape> shapes, std::string_view target);
using TogetherRule = Result<void> (*)(std::span<const Shape> shapes, std::span<const Attribute> attributes);

/// One entry of the table, version 1. The shape rule, the operands and the error texts all come from the
/// signature.
template <Text Name, Text Signature>
Kernel kernel(std::vector<AttributeRule> attributes = {}, std::vector<InPlacePair> inPlace = {},
              Workspace workspace = nullptr, TogetherRule together = nullptr) {
  static constexpr Text kName = Name;
  static constexpr Text kSignature = Signature;
  return {.name = kName.view(),
          .version = 1,
          .operands = operandsOf(kSignature.view()),
          .attributes = std::move(attributes),
          .inPlace = std::move(inPlace),
          .signature = kSignature.view(),
          .checkShapes = checkShapesOf<Name, Signature>,
          .workspaceBytes = workspace,
          .checkTogether = together};
}

/// Host: four bytes for each row of the first operand.
std::size_t rowResults(std::span<const Shape> shapes, std::string_view target) {
  if (target != "host" || shapes.empty() || shapes[0].empty() || elements(shapes[0]) < 0 ||
      elements(shapes[0]) > kMaxElements)
    return 0;
  return std::size_t(shapes[0][0]) * 4;
}

/// Host: an fp64 partial for each granule of the first operand.
std::size_t granuleResults(std::span<const Shape> shapes, std::string_view target) {
  if (target != "host" || shapes.empty() || elements(shapes[0]) < 0 || elements(shapes[0]) > kMaxElements)
    return 0;
  return std::size_t(granules(elements(shapes[0]))) * 8;
}

/// sgd: momentum needs its buffer.
Result<void> checkMomentum(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  if (floatAttribute(*find("sgd", 1), attributes, "momentum") != 0.0 && shapes.size() < 6)
    return userError("kernel sgd", "momentum is not 0 and there is no momentum_buffer");
  return {};
}

std::vector<Kernel> makeKernels() {
  const AttributeRule scale{"scale", 1.0};
  const AttributeRule approximate{"approximate", std::string("none"), {"none", "tanh"}};
  return {
      // y = x W^T + b, weight [N,K]. Packed: [K chunk][ceil(columns / 32)][rows of the chunk][32].
      kernel<"pack_linear_forward", "weight f32[N,K] R, packed f32[packed(K,N)] W">(),
      kernel<"pack_linear_input_grad", "weight f32[N,K] R, packed f32[packed(N,K)] W">(),
      kernel<"linear", "x f32[M,K] R, packed f32[packed(K,N)] R, y f32[M,N] W, bias f32[N] R?">(),
      kernel<"linear_input_grad", "g f32[M,N] R, packed f32[packed(N,K)] R, dx f32[M,K] W">(),
      // acc += g^T x, acc += column sums of g.
      kernel<"linear_weight_grad", "g f32[M,N] R, x f32[M,K] R, acc f32[N,K] RW">(),
      kernel<"bias_grad", "g f32[M,N] R, acc f32[N] RW">(),

      kernel<"relu", "x f32[X...] R, y f32[X...] W">({}, {{0, 1}}),
      kernel<"relu_grad", "g f32[X...] R, y f32[X...] R, dx f32[X...] W">({}, {{0, 2}}),
      kernel<"tanh", "x f32[X...] R, y f32[X...] W">({}, {{0, 1}}),
      kernel<"tanh_grad", "g f32[X...] R, y f32[X...] R, dx f32[X...] W">({}, {{0, 2}}),
      kernel<"gelu", "x f32[X...] R, y f32[X...] W">({approximate}, {{0, 1}}),
      kernel<"gelu_grad", "g f32[X...] R, x f32[X...] R, dx f32[X...] W">({approximate}, {{0, 2}}),
      kernel<"copy", "x f32[X...] R, y f32[count(X)...] W">(),

      // Losses are means over the first `valid_rows` rows; 0 rows give 0. log_sum_exp has all rows.
      kernel<"softmax_cross_entropy",
             "logits f32[M,C] R, labels i32[M] R, valid_rows i32[1] R, loss f32[1] W, "
             "log_sum_exp f32[M] W">({}, {}, rowResults),
      kernel<"softmax_cross_entropy_grad",
             "logits f32[M,C] R, labels i32[M] R, log_sum_exp f32[M] R, dlogits f32[M,C] W">({scale},
                                                                                             {{0, 3}}),
      kernel<"mse_loss", "x f32[M,X...] R, target f32[M,X...] R, valid_rows i32[1] R, loss f32[1] W">(
          {}, {}, granuleResults),
      kernel<"mse_loss_grad", "x f32[M,X...] R, target f32[M,X...] R, dx f32[M,X...] W">({scale}),
      kernel<"count_correct", "logits f32[M,C] R, labels i32[M] R, valid_rows i32[1] R, correct i64[1] W">(
          {}, {}, rowResults),
      kernel<"mean_loss", "losses f32[M] R, mean f64[1] W">(),

      kernel<"gradient_norm_partials", "grad f32[X...] R, partials f64[granules(X)] W">(),
      kernel<"clip_coefficient", "partials f64[G] R, coefficient f32[1] W, norm f64[1] W">(
          {{"max_norm", 1.0}}),
      // grad is multiplied by coefficient first, and zero afterwards.
      kernel<"sgd", "param f32[X...] RW, grad f32[X...] RW, learning_rate f32[1] R, coefficient f32[1] R, "
                    "step i32[1] R, "
                    "momentum_buffer f32[X...] RW?">(
          {{"momentum", 0.0}, {"dampening", 0.0}, {"nesterov", std::int64_t(0)}, {"weight_decay", 0.0}}, {},
          nullptr, checkMomentum),
      kernel<"adam", "param f32[X...] RW, grad f32[X...] RW, learning_rate f32[1] R, coefficient f32[1] R, "
                     "bias_corrections f64[2] R, exp_avg f32[X...] RW, exp_avg_sq f32[X...] RW">(
          {{"beta1", 0.9},
           {"beta2", 0.999},
           {"epsilon", 1e-8},
           {"weight_decay", 0.0},
           {"decoupled", std::int64_t(1)}}),
  };
}

Result<void> checkAttribute(const Kernel &kernel, const Attribute &attribute) {
  const std::string place = "kernel " + std::string(kernel.name);
  const auto rule = std::ranges::find(kernel.attributes, attribute.name, &AttributeRule::name);
  if (rule == kernel.attributes.end())
    return userError(place, "there is no attribute '" + attribute.name + "'");
  static constexpr const char *kTypes[] = {"an integer", "a real number", "a text"};
  if (attribute.value.index() != rule->fallback.index())
    return userError(place, "attribute '" + attribute.name + "' is " + kTypes[attribute.value.index()] +
                                ", not " + kTypes[rule->fallback.index()]);
  if (const double *real = std::get_if<double>(&attribute.value); real && std::isnan(*real))
    return userError(place, "attribute '" + attribute.name + "' is not a number");
  const std::string *text = std::get_if<std::string>(&attribute.value);
  if (text && !rule->choices.empty() && std::ranges::find(rule->choices, *text) == rule->choices.end())
    return userError(place, "attribute '" + attribute.name + "' cannot be '" + *text + "'");
  return {};
}

/// The value of attribute `name`, given or declared; null when it has neither with type T.
template <typename T>
const T *attributeValue(const Kernel &kernel, std::span<const Attribute> attributes, std::string_view name) {
  const auto given = std::ranges::find(attributes, name, &Attribute::name);
  if (given != attributes.end() && std::holds_alternative<T>(given->value))
    return &std::get<T>(given->value);
  const auto rule = std::ranges::find(kernel.attributes, name, &AttributeRule::name);
  return rule == kernel.attributes.end() ? nullptr : std::get_if<T>(&rule->fallback);
}

} // namespace

std::size_t byteSize(DType dtype) {
  static constexpr std::size_t kBytes[kDTypes] = {4, 2, 2, 8, 4, 8, 1};
  return std::size_t(dtype) < kDTypes ? kBytes[std::size_t(dtype)] : 0;
}

std::string_view name(DType dtype) {
  static constexpr std::string_view kNames[kDTypes] = {"f32", "f16", "bf16", "f64", "i32", "i64", "u8"};
  return std::size_t(dtype) < kDTypes ? kNames[std::size_t(dtype)] : "unknown";
}

std::span<const Kernel> kernels() {
  static const std::vector<Kernel> table = makeKernels();
  return table;
}

const Kernel *find(std::string_view name, int version) {
  for (const Kernel &kernel : kernels())
    if (kernel.name == name && kernel.version == version)
      return &kernel;
  return nullptr;
}

Result<void> check(const Kernel &kernel, std::span<const DType> dtypes, std::span<const Shape> shapes,
                   std::span<const Attribute> attributes) {
  const std::string place = "kernel " + std::string(kernel.name);
  if (dtypes.size() != shapes.size())
    return userError(place, "there are " + std::to_string(dtypes.size()) + " element types for " +
                                std::to_string(shapes.size()) + " operands");
  if (Result<void> fine = kernel.checkShapes(shapes); !fine)
    return fine;
  for (std::size_t i = 0; i < dtypes.size(); ++i)
    if (dtypes[i] != kernel.operands[i].dtype)
      return userError(place, "operand " + std::string(kernel.operands[i].name) + " has elements of type " +
                                  std::string(name(dtypes[i])) + ", not " +
                                  std::string(name(kernel.operands[i].dtype)));
  for (std::size_t i = 0; i < attributes.size(); ++i) {
    if (std::ranges::count(attributes.first(i), attributes[i].name, &Attribute::name))
      return userError(place, "attribute '" + attributes[i].name + "' is given twice");
    if (Result<void> fine = checkAttribute(kernel, attributes[i]); !fine)
      return fine;
  }
  return kernel.checkTogether ? kernel.checkTogether(shapes, attributes) : Result<void>();
}

std::int64_t integerAttribute(const Kernel &kernel, std::span<const Attribute> attributes,
                              std::string_view name) {
  const std::int64_t *value = attributeValue<std::int64_t>(kernel, attributes, name);
  return value ? *value : 0;
}

double floatAttribute(const Kernel &kernel, std::span<const Attribute> attributes, std::string_view name) {
  const double *value = attributeValue<double>(kernel, attributes, name);
  return value ? *value : 0;
}

std::string stringAttribute(const Kernel &kernel, std::span<const Attribute> attributes,
                            std::string_view name) {
  const std::string *value = attributeValue<std::string>(kernel, attributes, name);
  return value ? *value : std::string();
}

std::int64_t packedElements(std::int64_t contraction, std::int64_t columns) {
  std::int64_t padded = 0, product = 0;
  if (contraction < 0 || columns < 0 || __builtin_add_overflow(columns, 31, &padded) ||
      __builtin_mul_overflow(contraction, padded / 32 * 32, &product))
    return -1;
  return product;
}

std::int64_t granules(std::int64_t elements) {
  return elements < 0 ? -1 : elements / kGranule + (elements % kGranule != 0);
}

std::int64_t elements(const Shape &shape) {
  std::int64_t product = 1;
  for (std::int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(product, size, &product))
      return -1;
  return product;
}

} // namespace stagewright::catalogue
