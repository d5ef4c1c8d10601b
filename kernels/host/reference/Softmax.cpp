// Family softmax.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace stagewright::kernels {

namespace {

void softmax(const Values &v) {
  const std::int64_t columns = v.size(0, 1);
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const double *x = v[0].data() + row * columns;
    const double most = *std::max_element(x, x + columns);
    double *y = v[1].data() + row * columns;
    std::transform(x, x + columns, y, [&](double value) { return std::exp(value - most); });
    const double sum = std::accumulate(y, y + columns, 0.0);
    std::for_each(y, y + columns, [&](double &value) { value /= sum; });
  }
}

void softmaxGrad(const Values &v) {
  const std::int64_t columns = v.size(0, 1);
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const double *g = v[0].data() + row * columns, *y = v[1].data() + row * columns;
    const double sum = std::inner_product(g, g + columns, y, 0.0);
    for (std::int64_t i = 0; i < columns; ++i)
      v[2][std::size_t(row * columns + i)] = y[i] * (g[i] - sum);
  }
}

constexpr ReferenceEntry kEntries[] = {{"softmax", softmax}, {"softmax_grad", softmaxGrad}};

} // namespace

ReferenceTable softmaxReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
