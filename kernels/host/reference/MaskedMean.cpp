// Family masked_mean.
#include "kernels/host/reference/Values.h"

#include <algorithm>

namespace stagewright::kernels {

namespace {

/// Calls body(sample, element of dx or x, element of y or g, weight in the mean).
template <typename Body>
void eachElement(const Values &v, const std::vector<std::int64_t> &shape, const Body &body) {
  const std::int64_t tokens = shape[1], columns = shape[2];
  for (std::int64_t sample = 0; sample < shape[0]; ++sample) {
    double count = 0;
    for (std::int64_t token = 0; token < tokens; ++token)
      count += v[1][std::size_t(sample * tokens + token)] != 0;
    for (std::int64_t token = 0; token < tokens; ++token)
      for (std::int64_t i = 0; i < columns; ++i) {
        const bool counts = v[1][std::size_t(sample * tokens + token)] != 0;
        body(std::size_t((sample * tokens + token) * columns + i), std::size_t(sample * columns + i),
             counts ? 1 / std::max(count, v.real("epsilon")) : 0);
      }
  }
}

void maskedMean(const Values &v) {
  std::fill(v[2].begin(), v[2].end(), 0.0);
  eachElement(v, v.instance.shapes[0], [&](std::size_t x, std::size_t y, double weight) {
    v[2][y] += weight == 0 ? 0 : weight * v[0][x];
  });
}

void maskedMeanGrad(const Values &v) {
  eachElement(v, v.instance.shapes[2], [&](std::size_t dx, std::size_t g, double weight) {
    v[2][dx] = weight == 0 ? 0 : weight * v[0][g];
  });
}

constexpr ReferenceEntry kEntries[] = {{"masked_mean", maskedMean}, {"masked_mean_grad", maskedMeanGrad}};

} // namespace

ReferenceTable maskedMeanReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
