// Family dropout. The same call with the same `random` on the gradient is its gradient.
#include "kernels/cuda/device/Dropout.cuh"
#include "kernels/cuda/device/Packs.cuh"

namespace {

template <typename T>
__device__ void dropout(const DropoutArguments &a) {
  eachPiece<16 / sizeof(T)>(a.elements, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float x[kSize];
    readPiece(static_cast<const T *>(a.x) + i, x);
    constexpr int kWords = kSize < 4 ? kSize : 4;
#pragma unroll
    for (int begin = 0; begin < kSize; begin += kWords) {
      const auto words = dropoutWords(a.numbers, (i + begin) / 4);
#pragma unroll
      for (int k = 0; k < kWords; ++k) {
        const uint32_t word = kWords == 4 ? words[k] : words[i % 4];
        x[begin + k] = keeps(a.numbers, word) ? x[begin + k] * a.numbers.scale : 0.0f;
      }
    }
    writePiece(static_cast<T *>(a.y) + i, x);
  });
}

/// x rounded to one of its two neighbours, as on the host (kernels/host/Philox16.h).
template <typename T>
__device__ float roundedBy(uint32_t word, float x);
template <>
__device__ float roundedBy<float>(uint32_t, float x) {
  return x;
}
template <>
__device__ float roundedBy<BF16>(uint32_t word, float x) {
  const uint32_t bits = bitsOf(x);
  return (bits & 0x7fffffff) <= 0x7f7f0000 ? fromBits((bits + (word >> 16)) & 0xffff0000) : x;
}
template <>
__device__ float roundedBy<F16>(uint32_t word, float x) {
  const uint32_t bits = bitsOf(x), magnitude = bits & 0x7fffffff;
  if (magnitude > 0x477fe000)
    return x;
  if (magnitude >= 0x38800000)
    return fromBits((bits + (word >> 19)) & 0xffffe000);
  const float units = fromBits(magnitude) * 0x1p24f;
  const int32_t lower = int32_t(units), part = int32_t((units - float(lower)) * 0x1p24f);
  const float small = float(lower + (int32_t(word >> 8) + part >= 1 << 24 ? 1 : 0)) * 0x1p-24f;
  return fromBits(bitsOf(small) | (bits & 0x80000000));
}

template <typename T>
__device__ void cast_stochastic(const StochasticCastArguments &a) {
  const uint32_t step = a.rounding[2], key0 = a.rounding[0];
  const uint32_t key1 = a.split ? a.rounding[1] ^ 0x9e3779b9u * a.rounding[3] : a.rounding[1];
  const bool draws = a.rounding[4] != 0;
  eachPiece<4>(a.elements, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float x[kSize];
    readPiece(static_cast<const float *>(a.x) + i, x);
    const auto words =
        stagewright::random::philox({{uint32_t(i / 4), a.parameter, step, 0xffffffffu}}, {{key0, key1}});
#pragma unroll
    for (int k = 0; k < kSize; ++k)
      x[k] = draws ? roundedBy<T>(words[(i + k) % 4], x[k]) : x[k];
    writePiece(static_cast<T *>(a.y) + i, x);
  });
}

} // namespace

STAGEWRIGHT_KERNELS(dropout, DropoutArguments)
STAGEWRIGHT_KERNELS(cast_stochastic, StochasticCastArguments)
