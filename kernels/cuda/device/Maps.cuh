// Loops of kernels that work element by element.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_MAPS_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_MAPS_CUH

#include "kernels/cuda/device/MapArguments.h"
#include "kernels/cuda/device/Packs.cuh"

template <typename T>
__device__ const T *input(const MapArguments &a, int number) {
  return static_cast<const T *>(a.inputs[number]);
}
template <typename T>
__device__ T *output(const MapArguments &a, int number) {
  return static_cast<T *>(a.outputs[number]);
}

/// outputs[0][i] = f(inputs[0][i], ..., inputs[Inputs - 1][i]), computed in fp32; Out: the result's type.
template <typename T, int Inputs, typename Out = T, typename F>
__device__ void mapElements(const MapArguments &a, F f) {
  constexpr int kWider = sizeof(T) < sizeof(Out) ? sizeof(Out) : sizeof(T);
  eachPiece<16 / kWider>(a.elements, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float x[Inputs][kSize], y[kSize];
#pragma unroll
    for (int number = 0; number < Inputs; ++number)
      readPiece(input<T>(a, number) + i, x[number]);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      if constexpr (Inputs == 1)
        y[k] = f(x[0][k]);
      else if constexpr (Inputs == 2)
        y[k] = f(x[0][k], x[1][k]);
      else
        y[k] = f(x[0][k], x[1][k], x[2][k]);
    }
    writePiece(output<Out>(a, 0) + i, y);
  });
}

#endif
