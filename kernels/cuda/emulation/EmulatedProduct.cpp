#include "kernels/cuda/emulation/EmulatedProduct.h"

#include "kernels/cuda/emulation/Elements.h"

#include <bit>
#include <cmath>

namespace stagewright::cuda::emulation {
namespace {

/// 1/2 x (1 + tanh(u)) and its derivative, u = sqrt(2 / pi) (x + 0.044715 x^3).
double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double geluGrad(double x) {
  const double t = std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

/// To 10 bits of mantissa, ties to even.
void roundToTf32(std::vector<float> &values) {
  for (float &value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    value = std::bit_cast<float>((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFFu);
  }
}

void sumRows(const Product &p, const std::vector<float> &left, void *sums) {
  for (std::int64_t row = 0; row < p.m; ++row) {
    float sum = 0;
    for (std::int64_t k = 0; k < p.k; ++k) {
      sum += left[static_cast<std::size_t>(p.transposesA ? k * p.m + row : row * p.k + k)];
    }
    static_cast<float *>(sums)[row] = sum;
  }
}

} // namespace

void computeProduct(const Product &p, const ProductOperands &operands) {
  const auto &[a, b, d, bias, aux] = operands;
  auto left = floats(p.element, a, p.batch * p.m * p.k), right = floats(p.element, b, p.batch * p.k * p.n);
  const auto before = p.accumulates ? floats(p.result, d, p.batch * p.m * p.n) : std::vector<float>();
  const auto added = p.hasBias ? floats(p.result, bias, p.n) : std::vector<float>();
  const auto beside =
      p.epilogue == Epilogue::GeluGrad ? floats(p.result, aux, p.m * p.n) : std::vector<float>();
  if (p.epilogue == Epilogue::RowSums) {
    sumRows(p, left, aux);
  }
  if (p.allowsTf32) {
    roundToTf32(left);
    roundToTf32(right);
  }
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
        if (p.epilogue == Epilogue::GeluAux) {
          store(p.result, aux, at, sum);
        }
        if (p.epilogue == Epilogue::Gelu || p.epilogue == Epilogue::GeluAux) {
          sum = static_cast<float>(gelu(sum));
        } else if (p.epilogue == Epilogue::GeluGrad) {
          sum *= static_cast<float>(geluGrad(beside[static_cast<std::size_t>(at)]));
        }
        store(p.result, d, at, sum);
      }
    }
  }
}

} // namespace stagewright::cuda::emulation
