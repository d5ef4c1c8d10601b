// Sums over replicas, elementwise and in their order: the bits of runtime/comm/OrderedSum.h.
#include "kernels/cuda/device/Device.cuh"
#include "kernels/cuda/device/OrderedSumArguments.h"

namespace {

template <typename T>
__device__ void ordered_sum(const OrderedSumArguments &a) {
  const T *const own = static_cast<const T *>(a.own);
  const T *const others = static_cast<const T *>(a.others);
  T *const y = static_cast<T *>(a.y);
  for (int64_t i = gridThread(); i < a.elements; i += gridThreads()) {
    T sum = a.position == 0 ? own[i] : others[i];
    for (int k = 1; k < a.terms; ++k)
      sum = sum + (k == a.position ? own[i] : others[(k < a.position ? k : k - 1) * a.stride + i]);
    if (a.divisor > 1)
      sum = sum / T(a.divisor);
    y[i] = a.accumulates ? y[i] + sum : sum;
  }
}

} // namespace

STAGEWRIGHT_ENTRY(ordered_sum_f32, ordered_sum<float>, OrderedSumArguments)
STAGEWRIGHT_ENTRY(ordered_sum_f64, ordered_sum<double>, OrderedSumArguments)
