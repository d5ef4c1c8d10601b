#include "kernels/cuda/emulation/EmulatedProduct.h"

#include "kernels/cuda/emulation/Elements.h"

namespace stagewright::cuda::emulation {
void computeProduct(const Product &p, const void *a, const void *b, void *d, const void *bias) {
  const auto left = floats(p.element, a, p.batch * p.m * p.k),
             right = floats(p.element, b, p.batch * p.k * p.n);
  const auto before = p.accumulates ? floats(p.result, d, p.batch * p.m * p.n) : std::vector<float>();
  const auto added = p.hasBias ? floats(p.result, bias, p.n) : std::vector<float>();
  for (std::int64_t batch = 0; batch < p.batch; ++batch) {
    const float *const of = left.data() + batch * p.m * p.k, *const with = right.data() + batch * p.k * p.n;
    for (std::int64_t row = 0; row < p.m; ++row) {
      for (std::int64_t column = 0; column < p.n; ++column) {
        const std::int64_t at = (batch * p.m + row) * p.n + column;
        float sum = 0;
        for (std::int64_t k = 0; k < p.k; ++k) {
          sum = fmaf(of[p.transposesA ? k * p.m + row : row * p.k + k],
                     with[p.transposesB ? column * p.k + k : k * p.n + column], sum);
        }
        sum += p.accumulates ? before[static_cast<std::size_t>(at)] : 0.0f;
        sum += p.hasBias ? added[static_cast<std::size_t>(column)] : 0.0f;
        store(p.result, d, at, sum);
      }
    }
  }
}

} // namespace stagewright::cuda::emulation
