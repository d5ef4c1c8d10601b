#include "catalogue/Catalogue.h"

#include "catalogue/Tables.h"
#include "catalogue/Target.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace stagewright::catalogue {

namespace {

Result<void> checkAttribute(const Kernel &kernel, const Attribute &attribute) {
  const std::string place = "kernel " + std::string(kernel.name);
  const auto rule = std::ranges::find(kernel.attributes, attribute.name, &AttributeRule::name);
  if (rule == kernel.attributes.end())
    return userError(place, "there is no attribute '" + attribute.name + "'");
  static constexpr const char *kTypes[] = {"an integer", "a real number", "a text", "a list of integers"};
  if (attribute.value.index() != rule->fallback.index())
    return userError(place, "attribute '" + attribute.name + "' is " + kTypes[attribute.value.index()] +
                                ", not " + kTypes[rule->fallback.index()]);
  if (const double *real = std::get_if<double>(&attribute.value); real && std::isnan(*real))
    return userError(place, "attribute '" + attribute.name + "' is not a number");
  const std::vector<std::int64_t> *list = std::get_if<std::vector<std::int64_t>>(&attribute.value);
  if (list && list->size() > kMaxListEntries)
    return userError(place, "attribute '" + attribute.name + "' has " + std::to_string(list->size()) +
                                " entries; at most " + std::to_string(kMaxListEntries) + " are possible");
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
  static const std::vector<Kernel> table = [] {
    std::vector<Kernel> all;
    for (auto family : {linearKernels, activationKernels, channelNormKernels, convolutionKernels,
                        poolingKernels, arithmeticKernels, movementKernels, lossKernels, optimizerKernels,
                        rowNormKernels, softmaxKernels, embeddingKernels, rotaryKernels, dropoutKernels,
                        attentionKernels, maskedMeanKernels, collectiveKernels})
      std::ranges::move(family(), std::back_inserter(all));
    return all;
  }();
  return table;
}

const Kernel *find(std::string_view name, int version) {
  for (const Kernel &kernel : kernels())
    if (kernel.name == name && kernel.version == version)
      return &kernel;
  return nullptr;
}

bool existsOn(const Kernel &kernel, std::string_view target) {
  return kernel.on == Devices::All || (kernel.on == Devices::Cuda) == isCuda(target);
}

Result<void> check(const Kernel &kernel, std::span<const DType> dtypes, std::span<const Shape> shapes,
                   std::span<const Attribute> attributes) {
  const std::string place = "kernel " + std::string(kernel.name);
  if (dtypes.size() != shapes.size())
    return userError(place, "there are " + std::to_string(dtypes.size()) + " element types for " +
                                std::to_string(shapes.size()) + " operands");
  if (Result<void> fine = kernel.checkShapes(shapes); !fine)
    return fine;
  const DType element = elementOf(kernel, dtypes);
  for (std::size_t i = 0; i < dtypes.size(); ++i) {
    const OperandRule &rule = kernel.operands[i];
    const bool isHalf = element == DType::F16 || element == DType::BF16;
    const DType wanted = rule.element && isHalf ? element : rule.dtype;
    if (dtypes[i] != wanted)
      return userError(place, "operand " + std::string(rule.name) + " has elements of type " +
                                  std::string(name(dtypes[i])) + ", not " + std::string(name(wanted)));
  }
  for (std::size_t i = 0; i < attributes.size(); ++i) {
    if (std::ranges::count(attributes.first(i), attributes[i].name, &Attribute::name))
      return userError(place, "attribute '" + attributes[i].name + "' is given twice");
    if (Result<void> fine = checkAttribute(kernel, attributes[i]); !fine)
      return fine;
  }
  return kernel.checkTogether ? kernel.checkTogether(shapes, attributes) : Result<void>();
}

DType elementOf(const Kernel &kernel, std::span<const DType> dtypes) {
  for (std::size_t i = 0; i < dtypes.size() && i < kernel.operands.size(); ++i)
    if (kernel.operands[i].element)
      return dtypes[i];
  return DType::F32;
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

std::vector<std::int64_t> listAttribute(const Kernel &kernel, std::span<const Attribute> attributes,
                                        std::string_view name) {
  const auto *value = attributeValue<std::vector<std::int64_t>>(kernel, attributes, name);
  return value ? *value : std::vector<std::int64_t>();
}

std::int64_t packedElements(std::int64_t contraction, std::int64_t columns) {
  std::int64_t padded = 0, product = 0;
  if (contraction < 0 || columns < 0 || __builtin_add_overflow(columns, 31, &padded) ||
      __builtin_mul_overflow(contraction, padded / 32 * 32, &product))
    return -1;
  return product;
}

std::int64_t packedConv2dElements(const Shape &weight) {
  return weight.size() == 4 ? elements(weight) : -1;
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
