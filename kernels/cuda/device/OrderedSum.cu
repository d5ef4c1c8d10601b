// Sums over ranks, elementwise and in their order: the bits of runtime/comm/OrderedSum.h.
#include "kernels/cuda/device/Device.cuh"
#include "kernels/cuda/device/OrderedSumArguments.h"

namespace {

/// What elements are added up in.
template <typename T>
struct Wide {
  using Type = float;
  __device__ static float of(T x) { return toFloat(x); }
  __device__ static T rounded(float x) { return fromFloat<T>(x); }
};
template <>
struct Wide<double> {
  using Type = double;
  __device__ static double of(double x) { return x; }
  __device__ static double rounded(double x) { return x; }
};

template <typename T>
__device__ void ordered_sum(const OrderedSumArguments &a) {
  const T *const own = static_cast<const T *>(a.own);
  const T *const others = static_cast<const T *>(a.others);
  T *const y = static_cast<T *>(a.y);
  for (int64_t i = gridThread(); i < a.elements; i += gridThreads()) {
    typename Wide<T>::Type sum = Wide<T>::of(a.position == 0 ? own[i] : others[i]);
    for (int k = 1; k < a.terms; ++k)
      sum = sum + Wide<T>::of(k == a.position ? own[i] : others[(k < a.position ? k : k - 1) * a.stride + i]);
    if (a.divisor > 1)
      sum = sum / typename Wide<T>::Type(a.divisor);
    y[i] = Wide<T>::rounded(a.accumulates ? Wide<T>::of(y[i]) + sum : sum);
  }
}

} // namespace

STAGEWRIGHT_KERNELS(ordered_sum, OrderedSumArguments)
STAGEWRIGHT_ENTRY(ordered_sum_f64, ordered_sum<double>, OrderedSumArguments)
