// Arguments of kernels that work element by element.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_MAPARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_MAPARGUMENTS_H

#include <stdint.h>

/// y[i] = f(x[i], ...); in and out may be the same memory. All start at multiples of 16 bytes.
struct MapArguments {
  const void *inputs[3];
  void *outputs[2];
  int64_t elements;
  float number;   ///< a kernel's own
  int32_t choice; ///< likewise
  float second;   ///< likewise
};

#endif
