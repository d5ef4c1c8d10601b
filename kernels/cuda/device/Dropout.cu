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

} // namespace

STAGEWRIGHT_KERNELS(dropout, DropoutArguments)
