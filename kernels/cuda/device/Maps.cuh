// Loops of kernels that work element by element: 16 bytes at a time, the rest one by one.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_MAPS_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_MAPS_CUH

#include "kernels/cuda/device/Device.cuh"
#include "kernels/cuda/device/MapArguments.h"

/// outputs[0][i] = f(inputs[0][i], ..., inputs[Inputs - 1][i]), computed in fp32.
template <typename T, int Inputs, typename F>
__device__ void mapElements(const MapArguments &a, F f) {
  constexpr int kSize = Pack<T>::kSize;
  const int64_t packs = a.elements / kSize;
  const auto at = [&](int input, int64_t i) { return toFloat(static_cast<const T *>(a.inputs[input])[i]); };
  const auto one = [&](const float(&x)[Inputs]) {
    if constexpr (Inputs == 1)
      return f(x[0]);
    else if constexpr (Inputs == 2)
      return f(x[0], x[1]);
    else
      return f(x[0], x[1], x[2]);
  };
  for (int64_t pack = gridThread(); pack < packs; pack += gridThreads()) {
    Pack<T> in[Inputs], out;
#pragma unroll
    for (int input = 0; input < Inputs; ++input)
      in[input] = static_cast<const Pack<T> *>(a.inputs[input])[pack];
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      float x[Inputs];
#pragma unroll
      for (int input = 0; input < Inputs; ++input)
        x[input] = toFloat(in[input].values[k]);
      out.values[k] = fromFloat<T>(one(x));
    }
    static_cast<Pack<T> *>(a.outputs[0])[pack] = out;
  }
  for (int64_t i = packs * kSize + gridThread(); i < a.elements; i += gridThreads()) {
    float x[Inputs];
#pragma unroll
    for (int input = 0; input < Inputs; ++input)
      x[input] = at(input, i);
    static_cast<T *>(a.outputs[0])[i] = fromFloat<T>(one(x));
  }
}

#endif
