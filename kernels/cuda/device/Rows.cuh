// Kernels on the rows of a matrix: a row is worked on by one team of threads, which is a warp for short rows
// and a block for long ones. Which it is depends on the shape alone, and so does the order of sums:
//
//     thread     0     1    ...  n-1    0     1    ...        pieces of 16 bytes; of one element where rows
//     do row     [piece|piece| ... |piece|piece|piece| ...       not start at multiples of 16 bytes
//
// each thread adds up its elements in order, then the team its threads in a tree.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_ROWS_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_ROWS_CUH

#include "kernels/cuda/device/Packs.cuh"
#include "kernels/cuda/device/RowLayout.h"

/// Kernels of rows, for all element types.
#define STAGEWRIGHT_ROW_KERNELS(name, Arguments) STAGEWRIGHT_KERNELS_OF(kMostRowThreads, name, Arguments)

struct WarpTeam {
  __device__ static int thread() { return threadIdx.x % 32; }
  __device__ static int threads() { return 32; }
  __device__ static int64_t firstRow() { return int64_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; }
  __device__ static int64_t teams() { return int64_t(gridDim.x) * (blockDim.x / 32); }
  template <typename V, typename Operation>
  __device__ static V reduce(V value, V, Operation operation) {
    return reduceWarp(value, operation);
  }
};

struct BlockTeam {
  __device__ static int thread() { return threadIdx.x; }
  __device__ static int threads() { return blockDim.x; }
  __device__ static int64_t firstRow() { return blockIdx.x; }
  __device__ static int64_t teams() { return gridDim.x; }
  template <typename V, typename Operation>
  __device__ static V reduce(V value, V none, Operation operation) {
    return reduceBlock(value, none, operation);
  }
};

template <typename V, typename Team>
__device__ V teamSum(V value, Team) {
  return Team::reduce(value, V(0), Sum());
}
/// The largest; NaNs do not count.
template <typename Team>
__device__ float teamMaximum(float value, Team) {
  return Team::reduce(value, -INFINITY, [](float a, float b) { return fmaxf(a, b); });
}

/// Calls body(row, team, width) for all rows; pieces of a row have decltype(width)::kSize elements.
template <typename T, typename Body>
__device__ void eachRow(const RowLayout &layout, Body body) {
  const auto run = [&](auto team, auto width) {
    for (int64_t row = team.firstRow(); row < layout.rows; row += team.teams())
      body(row, team, width);
  };
  constexpr Width<Pack<T>::kSize> kPack;
  if (layout.byWarp) {
    if (layout.isAligned)
      run(WarpTeam(), kPack);
    else
      run(WarpTeam(), Width<1>());
  } else {
    if (layout.isAligned)
      run(BlockTeam(), kPack);
    else
      run(BlockTeam(), Width<1>());
  }
}

/// What a thread has of one row of `Inputs` matrices. The first pieces stay in registers, the others are read
/// again every time.
template <typename T, int N, int Inputs, typename Team>
struct RowPart {
  static constexpr int kHeld = N == 1 ? kHeldElements : kHeldPacks;

  /// Elements 0 of the row.
  template <typename... Pointers>
  __device__ RowPart(Team, int64_t columns, Pointers... from)
      : columns(columns), from{static_cast<const T *>(from)...} {
#pragma unroll
    for (int k = 0; k < kHeld; ++k)
      if (const int64_t column = columnOf(k); column < columns)
        read(column, held[k]);
  }

  /// Calls body(column, values[Inputs][N]) for each piece.
  template <typename Body>
  __device__ void each(Body body) const {
#pragma unroll
    for (int k = 0; k < kHeld; ++k)
      if (const int64_t column = columnOf(k); column < columns)
        call(body, column, held[k]);
    for (int64_t column = columnOf(kHeld); column < columns; column += int64_t(N) * Team::threads()) {
      Piece<T, N> pieces[Inputs];
      read(column, pieces);
      call(body, column, pieces);
    }
  }

private:
  __device__ int64_t columnOf(int k) const {
    return (int64_t(k) * Team::threads() + Team::thread()) * N;
  }
  __device__ void read(int64_t column, Piece<T, N> (&pieces)[Inputs]) const {
#pragma unroll
    for (int i = 0; i < Inputs; ++i)
      pieces[i] = *reinterpret_cast<const Piece<T, N> *>(from[i] + column);
  }
  template <typename Body>
  __device__ static void call(Body &body, int64_t column, const Piece<T, N> (&pieces)[Inputs]) {
    float values[Inputs][N];
#pragma unroll
    for (int i = 0; i < Inputs; ++i)
#pragma unroll
      for (int k = 0; k < N; ++k)
        values[i][k] = toFloat(pieces[i].values[k]);
    body(column, values);
  }

  int64_t columns;
  const T *from[Inputs];
  Piece<T, N> held[kHeld][Inputs];
};

/// Reads N numbers of a vector that may be absent, and need not start at a multiple of 16 bytes.
template <int N>
__device__ void readOr(const float *from, int64_t i, float otherwise, float (&to)[N]) {
#pragma unroll
  for (int k = 0; k < N; ++k)
    to[k] = from ? from[i + k] : otherwise;
}

#endif
