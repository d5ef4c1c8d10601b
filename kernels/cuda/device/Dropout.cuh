// Which elements a dropout keeps: the bits are those of the host.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_DROPOUT_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_DROPOUT_CUH

#include "kernels/cuda/device/Device.cuh"
#include "kernels/cuda/device/DropoutArguments.h"
#include "random/Philox.h"

/// The words of elements 4 group to 4 group + 3.
__device__ inline stagewright::random::PhiloxBlock dropoutWords(const DropoutNumbers &a, int64_t group) {
  return stagewright::random::philox({{uint32_t(group), a.stream, a.random[2], a.random[3]}},
                                     {{a.random[0], a.random[1]}});
}

/// Whether an element is kept.
__device__ inline bool keeps(const DropoutNumbers &a, uint32_t word) {
  return !a.none && word >= a.threshold;
}

#endif
