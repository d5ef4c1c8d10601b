// Family dropout.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

/// A probability, numbers of 16 bits for block and ordinal, and no more elements than a counter has.
Result<void> checkDropout(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  const Kernel &kernel = *find("dropout", 1);
  const double p = floatAttribute(kernel, attributes, "p");
  if (!(p >= 0 && p <= 1))
    return userError("kernel dropout", "p = " + std::to_string(p) + " is not in [0, 1]");
  for (const char *name : {"block", "ordinal"})
    if (const std::int64_t value = integerAttribute(kernel, attributes, name); value < 0 || value > 65535)
      return userError("kernel dropout",
                       std::string(name) + " " + std::to_string(value) + " is not in [0, 65535]");
  if (elements(shapes[0]) > std::int64_t(1) << 34)
    return userError("kernel dropout", "there are more than 2^34 elements");
  return {};
}

/// Numbers that a counter has.
Result<void> checkRounding(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  const Kernel &kernel = *find("cast_stochastic", 1);
  if (const auto parameter = integerAttribute(kernel, attributes, "parameter");
      parameter < 0 || parameter > INT32_MAX)
    return userError("kernel cast_stochastic",
                     "parameter " + std::to_string(parameter) + " is not in [0, 2147483647]");
  if (const auto split = integerAttribute(kernel, attributes, "split"); split < 0 || split > 1)
    return userError("kernel cast_stochastic", "split is " + std::to_string(split) + ", neither 0 nor 1");
  if (elements(shapes[0]) > std::int64_t(1) << 34)
    return userError("kernel cast_stochastic", "there are more than 2^34 elements");
  return {};
}

std::vector<Kernel> dropoutKernels() {
  return {
      // random: {seed low, seed high, step, micro-batch}. The gradient is the same call on g.
      entry<"dropout", "x T[X...] R, random i32[4] R, y T[X...] W">(
          {{"p", 0.5}, {"block", std::int64_t(0)}, {"ordinal", std::int64_t(0)}}, {{0, 2}}, nullptr,
          checkDropout),
      // rounding: {seed low, seed high, step, tensor rank + 1, 0: to the nearest}. x rounded up with the
      // probability
      // (x - lower) / (upper - lower); with `split` tensor ranks draw apart.
      entry<"cast_stochastic", "x f32[X...] R, rounding i32[5] R, y T[X...] W">(
          {{"parameter", std::int64_t(0)}, {"split", std::int64_t(0)}}, {}, nullptr, checkRounding),
  };
}

} // namespace stagewright::catalogue
