// Family masked_mean: the mean over the tokens whose mask is not 0, and its gradient.
#include "kernels/cuda/device/MaskedMeanArguments.h"
#include "kernels/cuda/device/Packs.cuh"

namespace {

/// max(tokens of the sample that count, epsilon); all threads of the block call it.
__device__ float divisorOf(const MaskedMeanArguments &a, const int32_t *mask) {
  int64_t count = 0;
  for (int64_t token = threadIdx.x; token < a.tokens; token += blockDim.x)
    count += mask[token] != 0;
  const float tokens = float(blockSum(count));
  return tokens < a.epsilon ? a.epsilon : tokens;
}

constexpr int kTokenLanes = 8; ///< warps of a block

/// A block takes kMeanColumns columns of a sample, N for each lane. Warp w adds tokens w, w + 8, ... in
/// order; the warps' sums are added by the tree.
template <typename T, int N>
__device__ void addTokens(const MaskedMeanArguments &a) {
  __shared__ float sums[kTokenLanes][kMeanColumns];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t width = 32 * N, strips = (a.columns + width - 1) / width;
  for (int64_t piece = blockIdx.x; piece < a.samples * strips; piece += gridDim.x) {
    const int64_t sample = piece / strips, column = piece % strips * width + lane * N;
    const int32_t *const mask = a.mask + sample * a.tokens;
    const T *const x = static_cast<const T *>(a.x) + sample * a.tokens * a.columns + column;
    const float divisor = divisorOf(a, mask); // its barriers: the last piece's sums have been read
    float sum[N] = {}, value[N];
    for (int64_t token = warp; token < a.tokens && column < a.columns; token += kTokenLanes)
      if (mask[token] != 0) {
        readPiece(x + token * a.columns, value);
#pragma unroll
        for (int k = 0; k < N; ++k)
          sum[k] += value[k];
      }
#pragma unroll
    for (int k = 0; k < N; ++k)
      sums[warp][lane * N + k] = sum[k];
    for (int half = kTokenLanes / 2; half > 0; half /= 2) {
      barrier();
      for (int k = 0; k < N && warp < half; ++k)
        sums[warp][lane * N + k] += sums[warp + half][lane * N + k];
    }
    if (warp == 0 && column < a.columns) {
      for (int k = 0; k < N; ++k)
        sum[k] = sums[0][lane * N + k] / divisor;
      writePiece(static_cast<T *>(a.y) + sample * a.columns + column, sum);
    }
  }
}

template <typename T>
__device__ void masked_mean(const MaskedMeanArguments &a) {
  if (a.columns % 4 == 0)
    addTokens<T, 4>(a);
  else
    addTokens<T, 1>(a);
}

/// A block takes kMeanTokens tokens of a sample.
template <typename T, int N>
__device__ void shareAmongTokens(const MaskedMeanArguments &a) {
  const int64_t parts = (a.tokens + kMeanTokens - 1) / kMeanTokens, pieces = a.columns / N;
  for (int64_t piece = blockIdx.x; piece < a.samples * parts; piece += gridDim.x) {
    const int64_t sample = piece / parts, first = piece % parts * kMeanTokens;
    const int64_t tokens = a.tokens - first < kMeanTokens ? a.tokens - first : kMeanTokens;
    const int32_t *const mask = a.mask + sample * a.tokens;
    const float divisor = divisorOf(a, mask);
    for (int64_t i = threadIdx.x; i < tokens * pieces; i += blockDim.x) {
      const int64_t token = first + i / pieces, column = i % pieces * N;
      float share[N] = {};
      if (mask[token] != 0) {
        readPiece(static_cast<const T *>(a.x) + sample * a.columns + column, share);
#pragma unroll
        for (int k = 0; k < N; ++k)
          share[k] = share[k] / divisor;
      }
      writePiece(static_cast<T *>(a.y) + (sample * a.tokens + token) * a.columns + column, share);
    }
  }
}

template <typename T>
__device__ void masked_mean_grad(const MaskedMeanArguments &a) {
  if (a.columns % 4 == 0)
    shareAmongTokens<T, 4>(a);
  else
    shareAmongTokens<T, 1>(a);
}

} // namespace

STAGEWRIGHT_KERNELS(masked_mean, MaskedMeanArguments)
STAGEWRIGHT_KERNELS(masked_mean_grad, MaskedMeanArguments)
