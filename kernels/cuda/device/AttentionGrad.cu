// Family attention_grad: the gradients of attention, from scores that are computed again. First a block for
// 16 R queries, which visits the keys and has dq; then a block for 16 R keys, which visits the queries of all
// heads that look at them and has dk and dv. The formulas are those of kernels/host/AttentionGrad.cpp.
#include "kernels/cuda/device/AttentionTiles.cuh"

namespace {

/// A probability, as dropout leaves it, and the gradient of its score times scale.
struct Slope {
  float probability, slope;
};

/// `gradient`: g v^T. `product`: g y^T.
__device__ Slope slopeOf(const AttentionArguments &a, float score, float gradient, float logSumExp,
                         float product, float factor) {
  const float value = expf((score - logSumExp) * a.scale);
  if (a.hasDropout)
    gradient = dropped(gradient, factor);
  return {a.hasDropout ? dropped(value, factor) : value, value * (gradient - product) * a.scale};
}

// ---- dq ----

/// g y^T of the block's queries, in one chain over the elements as a score has it; also for the next launch.
template <typename T, int R>
__device__ void loadQueryRows(const AttentionArguments &a, const AttentionUnit &unit, int64_t firstQuery,
                              AttentionMemory<R> &memory) {
  if (const int64_t query = firstQuery + threadIdx.x; threadIdx.x < 16 * R) {
    float product = 0, logSumExp = 0;
    if (query < a.queries) {
      const int64_t at = ((unit.sample * a.queries + query) * a.heads + unit.head) * a.width;
      const int64_t row = scoreRow(a, unit.sample, unit.head, query);
      for (int64_t d = 0; d < a.width; ++d)
        product = fmaf(toFloat(static_cast<const T *>(a.g)[at + d]),
                       toFloat(static_cast<const T *>(a.forward)[at + d]), product);
      logSumExp = a.logSumExp[row];
      a.products[row] = product;
    }
    memory.ofRows[0][threadIdx.x] = logSumExp;
    memory.ofRows[1][threadIdx.x] = product;
  }
}

/// Slopes of a tile of queries and keys, into the tile of scores.
template <typename T, int R>
__device__ void querySlopes(const AttentionArguments &a, const AttentionUnit &unit, int64_t firstQuery,
                            int64_t firstKey, AttentionMemory<R> &memory, const float (&scores)[R][4],
                            const float (&gradients)[R][4]) {
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const int row = tileRow() * R + r;
    float *const to = memory.score(row) + tileColumn();
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool isSeen = sees(a, unit.sample, firstQuery + row, firstKey + tileColumn() + 16 * j);
      const float factor = a.hasDropout ? to[16 * j] : 1.0f;
      to[16 * j] = isSeen ? slopeOf(a, scores[r][j], gradients[r][j], memory.ofRows[0][row],
                                    memory.ofRows[1][row], factor)
                                .slope
                          : 0.0f;
    }
  }
}

template <typename T, int R, int C>
__device__ void gradOfQueries(const AttentionArguments &a) {
  __shared__ AttentionMemory<R> memory;
  const int64_t blocks = (a.queries + 16 * R - 1) / (16 * R), units = a.batch * a.heads * blocks;
  for (int64_t i = blockIdx.x; i < units; i += gridDim.x) {
    // Causal: the longest first.
    const AttentionUnit unit{i / blocks / a.heads, i / blocks % a.heads, blocks - 1 - i % blocks};
    const int64_t firstQuery = unit.block * 16 * R, keyHead = unit.head / (a.heads / a.keyHeads);
    const int64_t end = a.causal ? least(a.keys, firstQuery + 16 * R) : a.keys;
    barrier(); // an earlier unit is done
    loadQueryRows<T>(a, unit, firstQuery, memory);
    const HeadRows<T> q(a, a.q, a.queries, a.heads, unit.sample, unit.head, firstQuery);
    const HeadRows<T> g(a, a.g, a.queries, a.heads, unit.sample, unit.head, firstQuery);
    float sums[C][R][4];
    clearSums(sums);
    for (int64_t firstKey = 0; firstKey < end; firstKey += kColumns) {
      const HeadRows<T> k(a, a.k, a.keys, a.keyHeads, unit.sample, keyHead, firstKey);
      const HeadRows<T> v(a, a.v, a.keys, a.keyHeads, unit.sample, keyHead, firstKey);
      if (a.hasDropout)
        queryFactors(a, unit, firstQuery, firstKey, memory);
      float scores[R][4], gradients[R][4];
      multiplyHeads(memory, q, k, scores);
      multiplyHeads(memory, g, v, gradients);
      querySlopes<T>(a, unit, firstQuery, firstKey, memory, scores, gradients);
      addScores(memory, k, sums);
    }
    writeSums<R, C, T>(a, a.dq, a.queries, a.heads, unit.sample, unit.head, firstQuery, sums,
                       [](int, float sum) { return sum; });
  }
}

// ---- dk and dv ----

/// Likewise of 16 R keys and 64 queries: a thread has four keys of a query at a time.
template <int R>
__device__ void keyFactors(const AttentionArguments &a, const AttentionUnit &unit, int64_t firstKey,
                           int64_t firstQuery, AttentionMemory<R> &memory) {
  for (int i = threadIdx.x; i < 4 * R * kColumns; i += kAttentionThreads) {
    const int column = i % kColumns, row = i / kColumns * 4;
    float factors[4];
    dropoutFactors(a, scoreRow(a, unit.sample, unit.head, firstQuery + column), firstKey + row, factors);
    for (int k = 0; k < 4; ++k)
      memory.score(row + k)[column] = factors[k];
  }
}

/// The keys of a block meet 64 queries of one head.
template <typename T, int R, int C>
__device__ void meetQueries(const AttentionArguments &a, const AttentionUnit &unit, int64_t firstKey,
                            int64_t firstQuery, AttentionMemory<R> &memory, float (&dk)[C][R][4],
                            float (&dv)[C][R][4]) {
  const int64_t keyHead = unit.head / (a.heads / a.keyHeads);
  const HeadRows<T> k(a, a.k, a.keys, a.keyHeads, unit.sample, keyHead, firstKey);
  const HeadRows<T> v(a, a.v, a.keys, a.keyHeads, unit.sample, keyHead, firstKey);
  const HeadRows<T> q(a, a.q, a.queries, a.heads, unit.sample, unit.head, firstQuery);
  const HeadRows<T> g(a, a.g, a.queries, a.heads, unit.sample, unit.head, firstQuery);
  barrier(); // the meeting before is over
  if (threadIdx.x < kColumns) {
    const int64_t query = firstQuery + threadIdx.x, row = scoreRow(a, unit.sample, unit.head, query);
    memory.ofRows[0][threadIdx.x] = query < a.queries ? a.logSumExp[row] : 0.0f;
    memory.ofRows[1][threadIdx.x] = query < a.queries ? a.products[row] : 0.0f;
  }
  if (a.hasDropout)
    keyFactors(a, unit, firstKey, firstQuery, memory);
  float scores[R][4], slopes[R][4];
  multiplyHeads(memory, k, q, scores);
  multiplyHeads(memory, v, g, slopes);
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int column = tileColumn() + 16 * j, row = tileRow() * R + r;
      float *const to = memory.score(row) + column;
      const Slope of = slopeOf(a, scores[r][j], slopes[r][j], memory.ofRows[0][column],
                               memory.ofRows[1][column], a.hasDropout ? *to : 1.0f);
      const bool isSeen = sees(a, unit.sample, firstQuery + column, firstKey + row);
      *to = isSeen ? of.probability : 0.0f;
      slopes[r][j] = isSeen ? of.slope : 0.0f;
    }
  addScores(memory, g, dv);
  barrier(); // the probabilities have been used
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      memory.score(tileRow() * R + r)[tileColumn() + 16 * j] = slopes[r][j];
  addScores(memory, q, dk);
}

template <typename T, int R, int C>
__device__ void gradOfKeys(const AttentionArguments &a) {
  __shared__ AttentionMemory<R> memory;
  const int64_t blocks = (a.keys + 16 * R - 1) / (16 * R), units = a.batch * a.keyHeads * blocks;
  const int64_t shared = a.heads / a.keyHeads;
  for (int64_t i = blockIdx.x; i < units; i += gridDim.x) {
    const int64_t sample = i / blocks / a.keyHeads, keyHead = i / blocks % a.keyHeads, block = i % blocks;
    const int64_t firstKey = block * 16 * R;
    const int64_t begin = a.causal ? firstKey / kColumns * kColumns : 0; // before it nobody sees these keys
    float dk[C][R][4], dv[C][R][4];
    clearSums(dk);
    clearSums(dv);
    for (int64_t head = keyHead * shared; head < (keyHead + 1) * shared; ++head)
      for (int64_t firstQuery = begin; firstQuery < a.queries; firstQuery += kColumns)
        meetQueries<T>(a, {sample, head, block}, firstKey, firstQuery, memory, dk, dv);
    const auto plain = [](int, float sum) { return sum; };
    writeSums<R, C, T>(a, a.dk, a.keys, a.keyHeads, sample, keyHead, firstKey, dk, plain);
    writeSums<R, C, T>(a, a.dv, a.keys, a.keyHeads, sample, keyHead, firstKey, dv, plain);
  }
}

// For heads of up to so many elements.
#define STAGEWRIGHT_ATTENTION_GRAD(size, R, C)                                                               \
  template <typename T>                                                                                      \
  __device__ void attention_grad_queries_##size(const AttentionArguments &a) {                               \
    gradOfQueries<T, R, C>(a);                                                                               \
  }                                                                                                          \
  template <typename T>                                                                                      \
  __device__ void attention_grad_keys_##size(const AttentionArguments &a) {                                  \
    gradOfKeys<T, R, C>(a);                                                                                  \
  }
STAGEWRIGHT_ATTENTION_GRAD(64, 4, 1)
STAGEWRIGHT_ATTENTION_GRAD(128, 4, 2)
STAGEWRIGHT_ATTENTION_GRAD(256, 2, 4)
STAGEWRIGHT_ATTENTION_GRAD(512, 1, 8)

} // namespace

STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_grad_queries_64, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_grad_queries_128, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_grad_queries_256, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_grad_queries_512, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kTwoBlocks, attention_grad_keys_64, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kAttentionThreads, attention_grad_keys_128, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kAttentionThreads, attention_grad_keys_256, AttentionArguments)
STAGEWRIGHT_KERNELS_OF(kAttentionThreads, attention_grad_keys_512, AttentionArguments)
