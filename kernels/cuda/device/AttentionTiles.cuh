// Products of blocks of queries and keys. A block has 256 threads, 16 x 16; its tile of scores has 16 R rows
// (queries, or keys where the gradients of keys are computed) and 64 columns (keys, or queries):
//
//     scores [16 R, 64]    thread (i, j) has rows i R ... i R + R - 1, columns j, j + 16, j + 32, j + 48
//     sums   [16 R, 64 C]  thread (i, j) has the same rows, columns 4 j ... 4 j + 3 of each 64
//
// A score is one chain over the head and every element of the sums one chain over the columns, of fused
// multiply-adds in order. Scores of gradients have the chain of the forward pass, so that a query that looks
// at one key alone has a probability of exactly 1 and a slope of exactly 0.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_ATTENTIONTILES_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_ATTENTIONTILES_CUH

#include "kernels/cuda/device/AttentionArguments.h"
#include "kernels/cuda/device/Dropout.cuh"
#include "kernels/cuda/device/Packs.cuh"

constexpr int kAttentionThreads = 256;
/// Kernels that are compiled for so many have registers for two blocks on a multiprocessor.
constexpr int kTwoBlocks = 2 * kAttentionThreads;
constexpr int kColumns = 64; ///< of a tile of scores
constexpr int kDepth = 32;   ///< elements of a head that are in shared memory at once
// Floats between rows in shared memory: multiples of 4 whose rows begin in different banks.
constexpr int kDepthStride = kDepth + 4, kScoreStride = kColumns + 4;

/// Shared memory of a block: what is multiplied, and a tile of scores.
template <int R>
struct AttentionMemory {
  static constexpr int kRows = 16 * R;
  static constexpr int kOperands = (kRows + kColumns) * kDepthStride, kWide = kColumns * 64;
  Pack<float> operands[(kOperands > kWide ? kOperands : kWide) / 4];
  Pack<float> scores[kRows * kScoreStride / 4];
  float ofRows[2][64]; ///< what each row or column of the tile has one of

  __device__ float *left() { return operands[0].values; }
  __device__ float *right() { return left() + kRows * kDepthStride; }
  __device__ float *wide() { return left(); }
  __device__ float *score(int row) { return scores[0].values + row * kScoreStride; }
};

/// Which head of which sample, and which block of its rows.
struct AttentionUnit {
  int64_t sample, head, block;
};

__device__ inline int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}
__device__ inline int tileRow() {
  return threadIdx.x / 16;
}
__device__ inline int tileColumn() {
  return threadIdx.x % 16;
}

/// Rows of one head of a matrix [batch,length,heads,width], from row `first` on.
template <typename T>
struct HeadRows {
  const T *from;
  int64_t stride, rows, width;
  bool isAligned;

  __device__ HeadRows(const AttentionArguments &a, const void *matrix, int64_t length, int64_t heads,
                      int64_t sample, int64_t head, int64_t first)
      : from(static_cast<const T *>(matrix) + ((sample * length + first) * heads + head) * a.width),
        stride(heads * a.width), rows(length - first), width(a.width), isAligned(a.isAligned != 0) {}

  /// Columns `begin` to begin + Depth - 1 of `Rows` rows, in floats; zero where there is nothing.
  template <int Rows, int Depth, int Stride>
  __device__ void load(float *to, int64_t begin) const {
    if (isAligned)
      loadPieces<Rows, Depth, Stride, Pack<T>::kSize>(to, begin);
    else
      loadPieces<Rows, Depth, Stride, 1>(to, begin);
  }

private:
  template <int Rows, int Depth, int Stride, int N>
  __device__ void loadPieces(float *to, int64_t begin) const {
    constexpr int kPieces = Depth / N;
#pragma unroll 4
    for (int i = threadIdx.x; i < Rows * kPieces; i += kAttentionThreads) {
      const int row = i / kPieces, column = i % kPieces * N;
      float values[N] = {};
      if (row < rows && begin + column < width)
        readPiece(from + row * stride + begin + column, values);
      writePiece(to + row * Stride + column, values);
    }
  }
};

/// scores[r][j] = row r of `left` times row j of `right`.
template <int R, typename T>
__device__ void multiplyHeads(AttentionMemory<R> &memory, const HeadRows<T> &left, const HeadRows<T> &right,
                              float (&scores)[R][4]) {
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      scores[r][j] = 0;
  for (int64_t begin = 0; begin < left.width; begin += kDepth) {
    barrier(); // what was there has been used
    left.template load<16 * R, kDepth, kDepthStride>(memory.left(), begin);
    right.template load<kColumns, kDepth, kDepthStride>(memory.right(), begin);
    barrier();
#pragma unroll 2
    for (int d = 0; d < kDepth; d += 4) {
      float a[R][4], b[4][4];
#pragma unroll
      for (int r = 0; r < R; ++r)
        readPiece(memory.left() + (tileRow() * R + r) * kDepthStride + d, a[r]);
#pragma unroll
      for (int j = 0; j < 4; ++j)
        readPiece(memory.right() + (tileColumn() + 16 * j) * kDepthStride + d, b[j]);
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int r = 0; r < R; ++r)
#pragma unroll
          for (int j = 0; j < 4; ++j)
            scores[r][j] = fmaf(a[r][k], b[j][k], scores[r][j]);
    }
  }
}

/// sums += the tile of scores times rows of `right`, a row for each column of the tile.
template <int R, int C, typename T>
__device__ void addScores(AttentionMemory<R> &memory, const HeadRows<T> &right, float (&sums)[C][R][4]) {
#pragma unroll
  for (int c = 0; c < C; ++c)
    if (c * 64 < right.width) {
      barrier(); // the scores are there, what was in the way has been used
      right.template load<kColumns, 64, 64>(memory.wide(), c * 64);
      barrier();
#pragma unroll 2
      for (int k = 0; k < kColumns; k += 4) {
        float p[R][4];
#pragma unroll
        for (int r = 0; r < R; ++r)
          readPiece(memory.score(tileRow() * R + r) + k, p[r]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float b[4];
          readPiece(memory.wide() + (k + i) * 64 + tileColumn() * 4, b);
#pragma unroll
          for (int r = 0; r < R; ++r)
#pragma unroll
            for (int j = 0; j < 4; ++j)
              sums[c][r][j] = fmaf(p[r][i], b[j], sums[c][r][j]);
        }
      }
    }
}

/// Writes the sums of row r times factor(r) to row `first` + r of a head of [batch,length,heads,width].
template <int R, int C, typename T, typename F>
__device__ void writeSums(const AttentionArguments &a, void *matrix, int64_t length, int64_t heads,
                          int64_t sample, int64_t head, int64_t first, const float (&sums)[C][R][4],
                          F factor) {
#pragma unroll
  for (int r = 0; r < R; ++r)
    if (const int64_t row = first + tileRow() * R + r; row < length) {
      T *const to = static_cast<T *>(matrix) + ((sample * length + row) * heads + head) * a.width;
#pragma unroll
      for (int c = 0; c < C; ++c)
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (const int column = c * 64 + tileColumn() * 4 + j; column < a.width)
            to[column] = fromFloat<T>(factor(r, sums[c][r][j]));
    }
}

template <int R, int C>
__device__ void clearSums(float (&sums)[C][R][4]) {
#pragma unroll
  for (int c = 0; c < C; ++c)
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        sums[c][r][j] = 0;
}

__device__ inline bool sees(const AttentionArguments &a, int64_t sample, int64_t query, int64_t key) {
  return query < a.queries && key < a.keys && !(a.causal && key > query) &&
         !(a.keyMask && a.keyMask[sample * a.keys + key] == 0);
}

/// Row of [batch,heads,queries].
__device__ inline int64_t scoreRow(const AttentionArguments &a, int64_t sample, int64_t head, int64_t query) {
  return (sample * a.heads + head) * a.queries + query;
}

/// What a probability of four keys from `key` (a multiple of 4) on is multiplied by: 0, or of what is kept
/// 1 / (1 - p).
__device__ inline void dropoutFactors(const AttentionArguments &a, int64_t row, int64_t key,
                                      float (&factors)[4]) {
  const int64_t element = row * ((a.keys + 63) / 64 * 64) + key;
  const auto words = dropoutWords(a.numbers, element / 4);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    factors[i] = keeps(a.numbers, words[i]) ? a.numbers.scale : 0.0f;
}

/// Factors of dropout of 16 R queries and 64 keys, which wait in the tile of scores.
template <int R>
__device__ void queryFactors(const AttentionArguments &a, const AttentionUnit &unit, int64_t firstQuery,
                             int64_t firstKey, AttentionMemory<R> &memory) {
  barrier(); // the scores before have been used
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const int row = tileRow() * R + r, column = tileColumn() * 4;
    float factors[4];
    dropoutFactors(a, scoreRow(a, unit.sample, unit.head, firstQuery + row), firstKey + column, factors);
    writePiece(memory.score(row) + column, factors);
  }
}

/// What is dropped is zero, also a NaN.
__device__ inline float dropped(float value, float factor) {
  return factor == 0.0f ? 0.0f : value * factor;
}

#endif
