// Sums of what ranks contribute.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_ORDEREDSUMARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_ORDEREDSUMARGUMENTS_H

#include <stdint.h>

/// y[i] = (term 0 + term 1 + ...) / divisor, in that order. Term `position` is `own`, which may be y; the
/// others lie in `others`, one behind the other, each begun `stride` elements behind the last one.
struct OrderedSumArguments {
  const void *own;
  const void *others;
  void *y;
  int64_t elements;
  int64_t stride;
  int32_t terms;
  int32_t position;
  int32_t accumulates; ///< y[i] += the sum
  int32_t divisor;
};

#endif
