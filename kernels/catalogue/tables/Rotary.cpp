// Family rotary: positions as rotations of pairs of elements.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

Result<void> checkRotaryTable(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  const double base = floatAttribute(*find("rotary_table", 1), attributes, "base");
  if (!(base >= 1 && base <= 1e30))
    return userError("kernel rotary_table", "base " + std::to_string(base) + " is not in [1, 1e30]");
  if (shapes[0][1] % 2)
    return userError("kernel rotary_table",
                     "rows of " + std::to_string(shapes[0][1]) + " elements are no pairs");
  return {};
}

Result<void> checkRotary(std::span<const Shape> shapes, std::span<const Attribute>) {
  if (shapes[0][3] % 2)
    return userError("kernel rotary", "heads of " + std::to_string(shapes[0][3]) + " elements are no pairs");
  return {};
}

std::vector<Kernel> rotaryKernels() {
  return {
      // Row s: cosines of D/2 angles, then their sines; angle i is s * base^(-2i / D).
      entry<"rotary_table", "table f32[S,D] W">({{"base", 10000.0}}, {}, nullptr, checkRotaryTable),
      // Pairs are (i, i + D/2), with `interleaved` (2i, 2i + 1); `inverse` rotates backwards: the gradient.
      entry<"rotary", "x T[B,S,H,D] R, table f32[S,D] R, y T[B,S,H,D] W">(
          {{"inverse", std::int64_t(0)}, {"interleaved", std::int64_t(0)}}, {}, nullptr, checkRotary),
  };
}

} // namespace stagewright::catalogue
