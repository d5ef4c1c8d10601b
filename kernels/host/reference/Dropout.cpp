// Family dropout.
#include "kernels/host/reference/Dropout.h"
#include "random/Philox.h"

#include <cmath>

namespace stagewright::kernels {

double dropoutFactor(const Values &v, std::size_t numbers, std::int64_t element) {
  const auto word = [&](std::size_t i) { return std::uint32_t(std::int64_t(v[numbers][i])); };
  const std::uint32_t stream = std::uint32_t(v.integer("block") * 65536 + v.integer("ordinal"));
  const auto made =
      random::philox({{std::uint32_t(element / 4), stream, word(2), word(3)}}, {{word(0), word(1)}});
  const double p = v.real("p");
  return double(made[std::uint64_t(element % 4)]) >= std::round(p * 0x1p32) ? 1 / (1 - p) : 0;
}

namespace {

void dropout(const Values &v) {
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[2][i] = v[0][i] * dropoutFactor(v, 1, std::int64_t(i));
}

constexpr ReferenceEntry kEntries[] = {{"dropout", dropout}};

} // namespace

ReferenceTable dropoutReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
