// Arguments of masked means.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_MASKEDMEANARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_MASKEDMEANARGUMENTS_H

#include <stdint.h>

/// Blocks have 256 threads. A block of masked_mean adds four columns for each of 32 threads...
constexpr int64_t kMeanColumns = 128;
/// ...and a block of its gradient writes so many tokens.
constexpr int64_t kMeanTokens = 32;

struct MaskedMeanArguments {
  const void *x;       ///< the gradient's: g
  const int32_t *mask; ///< [samples, tokens]
  void *y;             ///< the gradient's: dx
  int64_t samples, tokens, columns;
  float epsilon;
};

#endif
