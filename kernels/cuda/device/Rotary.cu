// Family rotary: positions as rotations of pairs of elements.
#include "kernels/cuda/device/Packs.cuh"
#include "kernels/cuda/device/RotaryArguments.h"

namespace {

/// Row s: cosines, then sines, of s * base^(-2i / D), computed in fp64.
__device__ void rotary_table(const RotaryTableArguments &a) {
  const double slope = log(a.base) / -double(a.half);
  for (int64_t item = gridThread(); item < a.rows * a.half; item += gridThreads()) {
    const int64_t row = item / a.half, i = item % a.half;
    const double angle = double(row) * exp(double(i) * slope);
    float *const to = a.table + row * 2 * a.half + i;
    to[0] = float(cos(angle));
    to[a.half] = float(sin(angle));
  }
}

/// N pairs at a time.
///
///   halves        i i+1 ... | half+i half+i+1 ...       interleaved     2i 2i+1 2i+2 2i+3 ...
///                 first       second                                    first, second, first, second
template <typename T, int N, bool Interleaved>
__device__ void rotatePairs(const RotaryArguments &a) {
  const int64_t pieces = a.half / N;
  for (int64_t item = gridThread(); item < a.rows * pieces; item += gridThreads()) {
    const int64_t row = item / pieces, i = item % pieces * N;
    const float *const angles = a.table + row / a.heads % a.positions * 2 * a.half + i;
    const T *const x = static_cast<const T *>(a.x) + row * 2 * a.half + (Interleaved ? 2 * i : i);
    T *const y = static_cast<T *>(a.y) + row * 2 * a.half + (Interleaved ? 2 * i : i);
    float cosine[N], sine[N], all[2 * N], first[N], second[N];
    readPiece(angles, cosine);
    readPiece(angles + a.half, sine);
    if constexpr (Interleaved) {
      readPiece(x, all);
    } else {
      readPiece(x, first);
      readPiece(x + a.half, second);
    }
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float u = Interleaved ? all[2 * k] : first[k], v = Interleaved ? all[2 * k + 1] : second[k];
      const float s = sine[k] * a.sign;
      all[2 * k] = first[k] = fmaf(u, cosine[k], -(v * s));
      all[2 * k + 1] = second[k] = fmaf(v, cosine[k], u * s);
    }
    if constexpr (Interleaved) {
      writePiece(y, all);
    } else {
      writePiece(y, first);
      writePiece(y + a.half, second);
    }
  }
}

template <typename T>
__device__ void rotary(const RotaryArguments &a) {
  constexpr int kPack = 16 / sizeof(T);
  if (a.interleaved) {
    if (a.half % (kPack / 2) == 0)
      rotatePairs<T, kPack / 2, true>(a);
    else
      rotatePairs<T, 1, true>(a);
  } else {
    if (a.half % kPack == 0)
      rotatePairs<T, kPack, false>(a);
    else
      rotatePairs<T, 1, false>(a);
  }
}

} // namespace

STAGEWRIGHT_KERNEL(rotary_table, RotaryTableArguments)
STAGEWRIGHT_KERNELS(rotary, RotaryArguments)
