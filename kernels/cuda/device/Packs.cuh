// Consecutive elements read and written with accesses of 16 bytes; the rest of a tensor one by one.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_PACKS_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_PACKS_CUH

#include "kernels/cuda/device/Device.cuh"

/// N consecutive elements. The address is a multiple of their bytes, or of 16 where they have more.
template <typename T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Piece {
  T values[N];
};

template <int N, typename T>
__device__ void readPiece(const T *from, float (&to)[N]) {
  const Piece<T, N> piece = *reinterpret_cast<const Piece<T, N> *>(from);
#pragma unroll
  for (int k = 0; k < N; ++k)
    to[k] = toFloat(piece.values[k]);
}
template <int N, typename T>
__device__ void writePiece(T *to, const float (&from)[N]) {
  Piece<T, N> piece;
#pragma unroll
  for (int k = 0; k < N; ++k)
    piece.values[k] = fromFloat<T>(from[k]);
  *reinterpret_cast<Piece<T, N> *>(to) = piece;
}

/// A number that is known to the compiler: decltype(width)::kSize.
template <int N>
struct Width {
  static constexpr int kSize = N;
};

/// Calls body(i, Width) for elements i to i + Width - 1; all threads of the grid share the work. Widths are
/// N, and 1 for the last elements.
template <int N, typename Body>
__device__ void eachPiece(int64_t elements, Body body) {
  for (int64_t i = gridThread() * N; i + N <= elements; i += gridThreads() * N)
    body(i, Width<N>());
  if constexpr (N > 1)
    for (int64_t i = elements / N * N + gridThread(); i < elements; i += gridThreads())
      body(i, Width<1>());
}

#endif
