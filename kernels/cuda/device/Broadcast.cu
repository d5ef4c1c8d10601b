// Family broadcast: repeat elements over dimensions, and sum over what was repeated.
#include "kernels/cuda/device/Packs.cuh"
#include "kernels/cuda/device/Strided.cuh"

namespace {

/// N elements at a time: neighbours in x, or one element of it.
template <typename T, int N>
__device__ void expandPieces(const ExpandArguments &a) {
  const bool repeats = a.source.rank > 0 && a.source.strides[a.source.rank - 1] == 0;
  for (int64_t i = gridThread() * N; i < a.elements; i += gridThreads() * N) {
    const T *const x = static_cast<const T *>(a.x) + placeOf(a.source, i);
    float value[N];
    if (repeats) {
      for (float &one : value)
        one = toFloat(*x);
    } else {
      readPiece(x, value);
    }
#pragma unroll
    for (int k = 0; k < N; ++k)
      value[k] = value[k] * a.scale;
    writePiece(static_cast<T *>(a.y) + i, value);
  }
}

template <typename T>
__device__ void expand(const ExpandArguments &a) {
  if (a.together)
    expandPieces<T, 16 / sizeof(T)>(a);
  else
    expandPieces<T, 1>(a);
}

template <typename T>
__device__ double toDouble(T x) {
  return double(toFloat(x));
}
template <>
__device__ inline double toDouble<double>(double x) {
  return x;
}
template <typename T>
__device__ void put(T *to, double sum) {
  *to = fromFloat<T>(float(sum));
}
template <>
__device__ inline void put<double>(double *to, double sum) {
  *to = sum;
}

/// Terms lane, lane + lanes, ... of a chunk, in order.
template <typename X>
__device__ double sumTerms(const SumArguments &a, const X *x, int64_t lane, int64_t end, int lanes) {
  double sum = 0;
  if (a.summed.rank == 1) {
    const int64_t stride = a.summed.strides[0];
#pragma unroll 4
    for (int64_t i = lane; i < end; i += lanes)
      sum += toDouble(x[i * stride]);
  } else {
    for (int64_t i = lane; i < end; i += lanes)
      sum += toDouble(x[placeOf(a.summed, i)]);
  }
  return sum;
}

/// A block computes `columns` sums of one chunk, with 256 / columns threads for each: its lanes. What lies
/// side by side in x is read side by side: by the lanes, or by the columns. Lanes are added by the tree.
template <typename X, typename Y>
__device__ void sumChunks(const SumArguments &a) {
  __shared__ double ofLanes[256];
  const int lanes = blockDim.x / a.columns, thread = threadIdx.x;
  const int column = a.besideEachOther ? thread % a.columns : thread / lanes;
  const int lane = a.besideEachOther ? thread / a.columns : thread % lanes;
  double *const own = ofLanes + lane * a.columns + column;
  const int64_t groups = (a.sums + a.columns - 1) / a.columns;
  for (int64_t piece = blockIdx.x; piece < groups * a.chunks; piece += gridDim.x) {
    const int64_t chunk = piece / groups, i = piece % groups * a.columns + column;
    const int64_t begin = chunk * a.chunk, end = begin + a.chunk < a.terms ? begin + a.chunk : a.terms;
    barrier(); // the last piece has been read
    *own = i < a.sums
               ? sumTerms(a, static_cast<const X *>(a.x) + placeOf(a.kept, i), begin + lane, end, lanes)
               : 0.0;
    for (int half = lanes / 2; half > 0; half /= 2) {
      barrier();
      if (lane < half)
        *own += own[half * a.columns];
    }
    if (lane == 0 && i < a.sums)
      put(static_cast<Y *>(a.y) + chunk * a.sums + i, *own * a.scale);
  }
}

template <typename T>
__device__ void reduce_sum(const SumArguments &a) {
  sumChunks<T, T>(a);
}
template <typename T>
__device__ void reduce_sum_chunks(const SumArguments &a) {
  sumChunks<T, double>(a);
}
template <typename T>
__device__ void reduce_chunks(const SumArguments &a) {
  sumChunks<double, T>(a);
}

} // namespace

STAGEWRIGHT_KERNELS(expand, ExpandArguments)
STAGEWRIGHT_KERNELS(reduce_sum, SumArguments)
STAGEWRIGHT_KERNELS(reduce_sum_chunks, SumArguments)
STAGEWRIGHT_KERNELS(reduce_chunks, SumArguments)
