// Arguments of dropout and of casts that round by chance.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_DROPOUTARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_DROPOUTARGUMENTS_H

#include <stdint.h>

/// What a dropout knows of its random numbers (docs/kernels.md).
struct DropoutNumbers {
  const uint32_t *random; ///< seed low, seed high, step, micro-batch: in device memory
  uint32_t stream;        ///< block * 65536 + ordinal
  uint32_t threshold;     ///< an element is kept when its word is at least this
  int32_t none;           ///< p is 1: nothing is kept
  float scale;            ///< of what is kept: 1 / (1 - p)
};

struct DropoutArguments {
  const void *x;
  void *y;
  int64_t elements;
  DropoutNumbers numbers;
};

struct StochasticCastArguments {
  const void *x;
  void *y;
  int64_t elements;
  const uint32_t *rounding; ///< seed low, seed high, step, tensor rank + 1, 0: to the nearest; device memory
  uint32_t parameter;
  int32_t split; ///< tensor ranks draw apart
};

#endif
