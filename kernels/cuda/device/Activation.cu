// Family activation: element by element, and copy. The formulas are those of kernels/host/Activation.cpp.
#include "kernels/cuda/device/Maps.cuh"

namespace {

template <typename T>
__device__ void relu(const MapArguments &a) {
  mapElements<T, 1>(a, [](float x) { return x <= 0.0f ? 0.0f : x; });
}

template <typename T>
__device__ void relu_grad(const MapArguments &a) {
  mapElements<T, 2>(a, [](float g, float y) { return y <= 0.0f ? 0.0f : g; });
}

} // namespace

STAGEWRIGHT_KERNELS(relu, MapArguments)
STAGEWRIGHT_KERNELS(relu_grad, MapArguments)
