// Family rotary.
#include "kernels/host/reference/Values.h"

#include <cmath>

namespace stagewright::kernels {

namespace {

void rotaryTable(const Values &v) {
  const std::int64_t width = v.size(0, 1), half = width / 2;
  for (std::int64_t s = 0; s < v.size(0, 0); ++s)
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = double(s) * std::pow(v.real("base"), -2.0 * double(i) / double(width));
      v[0][std::size_t(s * width + i)] = std::cos(angle);
      v[0][std::size_t(s * width + half + i)] = std::sin(angle);
    }
}

void rotary(const Values &v) {
  const std::int64_t positions = v.size(0, 1), heads = v.size(0, 2), width = v.size(0, 3), half = width / 2;
  for (std::int64_t row = 0; row < v.size(0, 0) * positions * heads; ++row)
    for (std::int64_t i = 0; i < half; ++i) {
      const double *angles = v[1].data() + row / heads % positions * width;
      const double cosine = angles[i], sine = v.flag("inverse") ? -angles[half + i] : angles[half + i];
      const std::int64_t a = row * width + (v.flag("interleaved") ? 2 * i : i);
      const std::int64_t b = v.flag("interleaved") ? a + 1 : a + half;
      v[2][std::size_t(a)] = v[0][std::size_t(a)] * cosine - v[0][std::size_t(b)] * sine;
      v[2][std::size_t(b)] = v[0][std::size_t(b)] * cosine + v[0][std::size_t(a)] * sine;
    }
}

constexpr ReferenceEntry kEntries[] = {{"rotary_table", rotaryTable}, {"rotary", rotary}};

} // namespace

ReferenceTable rotaryReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
