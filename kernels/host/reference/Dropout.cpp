// Family dropout.
#include "kernels/host/reference/Dropout.h"
#include "random/Philox.h"

#include <algorithm>
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

/// A type's digits with the implicit one, the spacing of its smallest numbers, its largest one.
struct Numbers {
  int digits;
  double smallest, largest;
};

double neighbour(double x, const Numbers &type, std::uint32_t word) {
  if (!(std::abs(x) <= type.largest))
    return x;
  int exponent = 0;
  std::frexp(x, &exponent); // |x| < 2^exponent
  const double spacing = std::max(std::ldexp(1.0, exponent - type.digits), type.smallest);
  const double lower = std::floor(std::abs(x) / spacing), part = std::abs(x) / spacing - lower;
  const bool isUp = std::floor(part * 0x1p24) + double(word >> 8) >= 0x1p24;
  return std::copysign((lower + isUp) * spacing, x);
}

void castStochastic(const Values &v) {
  const auto word = [&](std::size_t i) { return std::uint32_t(std::int64_t(v[1][i])); };
  const Numbers type = v.instance.element == catalogue::DType::F16 ? Numbers{11, 0x1p-24, 65504}
                                                                   : Numbers{8, 0x1p-133, 0x1.fep127};
  const std::uint32_t key = v.integer("split") ? word(1) ^ 0x9e3779b9u * word(3) : word(1);
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    const auto made =
        random::philox({{std::uint32_t(i / 4), std::uint32_t(v.integer("parameter")), word(2), 0xffffffffu}},
                       {{word(0), key}});
    const bool rounds = word(4) != 0 && v.instance.element != catalogue::DType::F32;
    v[2][i] = rounds ? neighbour(v[0][i], type, made[i % 4]) : v[0][i];
  }
}

constexpr ReferenceEntry kEntries[] = {{"dropout", dropout}, {"cast_stochastic", castStochastic}};

} // namespace

ReferenceTable dropoutReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
