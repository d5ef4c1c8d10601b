// Family attention: softmax(q k^T) v without the matrix of scores. A block has 16 R queries of one head and
// visits the blocks of 64 keys in order, with a running maximum. The formulas are those of
// kernels/host/Attention.cpp.
#include "kernels/cuda/device/AttentionTiles.cuh"

namespace {

/// What the threads of a row know of it.
template <int R, int C>
struct RunningRows {
  float sums[C][R][4]; ///< of probabilities times v
  float most[R];       ///< the largest score so far
  float totals[R];     ///< of probabilities: this thread's keys
};

/// Scores become exp((score - maximum so far) * scale), which is added to the row's totals: exactly 1 at the
/// maximum, whatever its size. What was added before is multiplied by exp((maximum before - now) * scale).
/// What dropout does not keep counts in the totals only.
template <int R, int C>
__device__ void toProbabilities(const AttentionArguments &a, AttentionMemory<R> &memory,
                                float (&scores)[R][4], RunningRows<R, C> &rows) {
#pragma unroll
  for (int r = 0; r < R; ++r) {
    float most = rows.most[r];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      most = fmaxf(most, scores[r][j]);
    for (int mask = 8; mask > 0; mask /= 2) // the row's sixteen threads are neighbours
      most = fmaxf(most, exchangeLanes(most, mask));
    const float base = most == -INFINITY ? 0.0f : most;
    const float shrink = most == rows.most[r] ? 1.0f : expf((rows.most[r] - base) * a.scale);
    rows.most[r] = most;
    rows.totals[r] *= shrink;
#pragma unroll
    for (int c = 0; c < C; ++c)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        rows.sums[c][r][j] *= shrink;
    float *const to = memory.score(tileRow() * R + r) + tileColumn();
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float value = expf((scores[r][j] - base) * a.scale);
      rows.totals[r] += value;
      to[16 * j] = a.hasDropout ? dropped(value, to[16 * j]) : value;
    }
  }
}

template <typename T, int R, int C>
__device__ void attendTo(const AttentionArguments &a, const AttentionUnit &unit, int64_t firstQuery,
                         int64_t firstKey, AttentionMemory<R> &memory, RunningRows<R, C> &rows) {
  const int64_t keyHead = unit.head / (a.heads / a.keyHeads);
  const HeadRows<T> q(a, a.q, a.queries, a.heads, unit.sample, unit.head, firstQuery);
  const HeadRows<T> k(a, a.k, a.keys, a.keyHeads, unit.sample, keyHead, firstKey);
  const HeadRows<T> v(a, a.v, a.keys, a.keyHeads, unit.sample, keyHead, firstKey);
  if (a.hasDropout)
    queryFactors(a, unit, firstQuery, firstKey, memory);
  float scores[R][4];
  multiplyHeads(memory, q, k, scores);
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (!sees(a, unit.sample, firstQuery + tileRow() * R + r, firstKey + tileColumn() + 16 * j))
        scores[r][j] = -INFINITY;
  toProbabilities(a, memory, scores, rows);
  addScores(memory, v, rows.sums);
}

template <typename T, int R, int C>
__device__ void attention(const AttentionArguments &a) {
  __shared__ AttentionMemory<R> memory;
  const int64_t blocks = (a.queries + 16 * R - 1) / (16 * R), units = a.batch * a.heads * blocks;
  for (int64_t i = blockIdx.x; i < units; i += gridDim.x) {
    // Causal: the longest first.
    const AttentionUnit unit{i / blocks / a.heads, i / blocks % a.heads, blocks - 1 - i % blocks};
    const int64_t firstQuery = unit.block * 16 * R;
    const int64_t end = a.causal ? least(a.keys, firstQuery + 16 * R) : a.keys;
    RunningRows<R, C> rows;
    clearSums(rows.sums);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      rows.most[r] = -INFINITY;
      rows.totals[r] = 0;
    }
    for (int64_t firstKey = 0; firstKey < end; firstKey += kColumns)
      attendTo<T>(a, unit, firstQuery, firstKey, memory, rows);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      for (int mask = 8; mask > 0; mask /= 2)
        rows.totals[r] += exchangeLanes(rows.totals[r], mask);
      if (const int64_t query = firstQuery + tileRow() * R + r; tileColumn() == 0 && query < a.queries)
        a.logSumExp[scoreRow(a, unit.sample, unit.head, query)] =
            rows.most[r] + logf(rows.totals[r]) / a.scale;
    }
    writeSums<R, C, T>(
        a, a.y, a.queries, a.heads, unit.sample, unit.head, firstQuery, rows.sums,
        [&](int r, float sum) { return rows.totals[r] == 0.0f ? 0.0f : sum * (1.0f / rows.totals[r]); });
  }
}

// For heads of up to so many elements.
template <typename T>
__device__ void attention_64(const AttentionArguments &a) {
  attention<T, 4, 1>(a);
}
template <typename T>
__device__ void attention_128(const AttentionArguments &a) {
  attention<T, 4, 2>(a);
}
template <typename T>
__device__ void attention_256(const AttentionArguments &a) {
  attention<T, 2, 4>(a);
}
template <typename T>
__device__ void attention_512(const AttentionArguments &a) {
  attention<T, 1, 8>(a);
}

} // namespace

STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_64, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_128, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_256, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_512, AttentionArguments)
