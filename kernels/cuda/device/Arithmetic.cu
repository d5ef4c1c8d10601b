// Family arithmetic: element by element; one rounding each, as on the host.
#include "kernels/cuda/device/Maps.cuh"

namespace {

template <typename T>
__device__ void add(const MapArguments &a) {
  mapElements<T, 2>(a, [](float x, float y) { return x + y; });
}

template <typename T>
__device__ void subtract(const MapArguments &a) {
  mapElements<T, 2>(a, [](float x, float y) { return x - y; });
}

template <typename T>
__device__ void multiply(const MapArguments &a) {
  mapElements<T, 2>(a, [](float x, float y) { return x * y; });
}

template <typename T>
__device__ void divide(const MapArguments &a) {
  mapElements<T, 2>(a, [](float x, float y) { return x / y; });
}

/// number: the factor; choice: whether there is a shift, `second` (adding zero would lose the sign of a
/// zero).
template <typename T>
__device__ void scale(const MapArguments &a) {
  if (a.choice == 0)
    mapElements<T, 1>(a, [&](float x) { return x * a.number; });
  else
    mapElements<T, 1>(a, [&](float x) { return fmaf(x, a.number, a.second); });
}

template <typename T>
__device__ void accumulate(const MapArguments &a) {
  eachPiece<4>(a.elements, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float x[kSize], sum[kSize];
    readPiece(input<T>(a, 0) + i, x);
    readPiece(output<float>(a, 0) + i, sum);
#pragma unroll
    for (int k = 0; k < kSize; ++k)
      sum[k] += x[k];
    writePiece(output<float>(a, 0) + i, sum);
  });
}

template <int N>
__device__ void writeZeros(float *to) {
  const float zeros[N] = {};
  writePiece(to, zeros);
}

/// outputs: x, which becomes zero, and what it is added to.
__device__ void add_and_clear(const MapArguments &a) {
  eachPiece<4>(a.elements, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float x[kSize], sum[kSize];
    readPiece(output<float>(a, 0) + i, x);
    readPiece(output<float>(a, 1) + i, sum);
#pragma unroll
    for (int k = 0; k < kSize; ++k)
      sum[k] += x[k];
    writePiece(output<float>(a, 1) + i, sum);
    writeZeros<kSize>(output<float>(a, 0) + i);
  });
}

__device__ void clear(const MapArguments &a) {
  eachPiece<4>(a.elements,
               [&](int64_t i, auto width) { writeZeros<decltype(width)::kSize>(output<float>(a, 0) + i); });
}

template <typename T>
__device__ void cast_to(const MapArguments &a) {
  mapElements<float, 1, T>(a, [](float x) { return x; });
}

template <typename T>
__device__ void cast_from(const MapArguments &a) {
  mapElements<T, 1, float>(a, [](float x) { return x; });
}

} // namespace

STAGEWRIGHT_KERNELS(add, MapArguments)
STAGEWRIGHT_KERNELS(subtract, MapArguments)
STAGEWRIGHT_KERNELS(multiply, MapArguments)
STAGEWRIGHT_KERNELS(divide, MapArguments)
STAGEWRIGHT_KERNELS(scale, MapArguments)
STAGEWRIGHT_KERNELS(accumulate, MapArguments)
STAGEWRIGHT_KERNEL(add_and_clear, MapArguments)
STAGEWRIGHT_KERNEL(clear, MapArguments)
STAGEWRIGHT_KERNELS(cast_to, MapArguments)
STAGEWRIGHT_KERNELS(cast_from, MapArguments)
