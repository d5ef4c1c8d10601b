// Places of elements.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_STRIDED_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_STRIDED_CUH

#include "kernels/cuda/device/Device.cuh"
#include "kernels/cuda/device/StridedArguments.h"

/// The place of element `index`, counted with the last dimension fastest.
__device__ inline int64_t placeOf(const Strided &a, int64_t index) {
  int64_t place = 0;
  for (int i = a.rank - 1; i > 0; --i) {
    const int64_t outer = index / a.sizes[i];
    place += (index - outer * a.sizes[i]) * a.strides[i];
    index = outer;
  }
  return a.rank > 0 ? place + index * a.strides[0] : 0;
}

#endif
