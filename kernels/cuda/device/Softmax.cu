// Family softmax: over the rows of a matrix. The formulas are those of kernels/host/Softmax.cpp.
#include "kernels/cuda/device/Rows.cuh"
#include "kernels/cuda/device/SoftmaxArguments.h"

namespace {

/// A NaN or +infinity in the row, or nothing but -infinity, gives a row of NaNs, as in PyTorch.
template <typename T>
__device__ void softmax(const SoftmaxArguments &a) {
  const int64_t columns = a.layout.columns;
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const RowPart<T, N, 1, decltype(team)> x(team, columns, static_cast<const T *>(a.x) + row * columns);
    float most = -INFINITY, sum = 0;
    x.each([&](int64_t, const auto &v) {
      for (int k = 0; k < N; ++k)
        most = fmaxf(most, v[0][k]);
    });
    most = teamMaximum(most, team);
    x.each([&](int64_t, const auto &v) {
      for (int k = 0; k < N; ++k)
        sum += expf(v[0][k] - most);
    });
    const float inverse = 1.0f / teamSum(sum, team);
    T *const y = static_cast<T *>(a.to) + row * columns;
    x.each([&](int64_t column, const auto &v) {
      float out[N];
      for (int k = 0; k < N; ++k)
        out[k] = expf(v[0][k] - most) * inverse;
      writePiece(y + column, out);
    });
  });
}

/// dx = y * (g - sum(g * y))
template <typename T>
__device__ void softmax_grad(const SoftmaxArguments &a) {
  const int64_t columns = a.layout.columns;
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const RowPart<T, N, 2, decltype(team)> gy(team, columns, static_cast<const T *>(a.x) + row * columns,
                                              static_cast<const T *>(a.y) + row * columns);
    float products = 0;
    gy.each([&](int64_t, const auto &v) {
      for (int k = 0; k < N; ++k)
        products = fmaf(v[0][k], v[1][k], products);
    });
    const float total = teamSum(products, team);
    T *const dx = static_cast<T *>(a.to) + row * columns;
    gy.each([&](int64_t column, const auto &v) {
      float out[N];
      for (int k = 0; k < N; ++k)
        out[k] = v[1][k] * (v[0][k] - total);
      writePiece(dx + column, out);
    });
  });
}

} // namespace

STAGEWRIGHT_ROW_KERNELS(softmax, SoftmaxArguments)
STAGEWRIGHT_ROW_KERNELS(softmax_grad, SoftmaxArguments)
