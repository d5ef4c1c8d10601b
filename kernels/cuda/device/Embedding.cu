// Family embedding: rows of a table, or of one rank's part of it, by number, and their gradient. The gradient
// adds the tokens in order to every column, as on the host. Chunks of tokens are sorted by row, each by a
// block of its own; then, a launch for each chunk, a warp adds the tokens of one row:
//
//   ids      7 3 7 1 3 7
//   sorted   1.3 | 3.1 3.4 | 7.0 7.2 7.5        row.token
//            a warp for each run (and each 128 columns)
#include "kernels/cuda/device/EmbeddingArguments.h"
#include "kernels/cuda/device/Packs.cuh"

namespace {

/// The row of an id in the part of this rank, -1 when it is in none or in another one. A quotient, as
/// rank * entries may overflow.
__device__ inline int64_t entryOf(int64_t id, int64_t entries, const int32_t *tensorRank) {
  const int64_t rank = tensorRank ? *tensorRank : 0;
  return id >= 0 && id / entries == rank ? id - rank * entries : -1;
}

template <typename T, int N>
__device__ void readRows(const EmbeddingArguments &a) {
  const int64_t pieces = a.columns / N;
  for (int64_t item = gridThread(); item < a.tokens * pieces; item += gridThreads()) {
    const int64_t token = item / pieces, column = item % pieces * N, id = a.ids[token];
    const int64_t entry = entryOf(id, a.entries, a.tensorRank);
    float row[N];
    if (entry >= 0) {
      readPiece(a.weight + entry * a.columns + column, row);
    } else {
      for (float &value : row)
        value = a.tensorRank && id >= 0 ? 0.0f : nanf("");
    }
    writePiece(static_cast<T *>(a.y) + token * a.columns + column, row);
  }
}

template <typename T>
__device__ void embedding(const EmbeddingArguments &a) {
  if (a.columns % 4 == 0)
    readRows<T, 4>(a);
  else
    readRows<T, 1>(a);
}

constexpr uint64_t kNoRow = ~uint64_t(0); ///< behind all rows

/// A bitonic network: its size is a power of two. All threads of the block call it; ends with a barrier.
__device__ void sortShared(uint64_t *keys, int size) {
  for (int run = 2; run <= size; run *= 2)
    for (int distance = run / 2; distance > 0; distance /= 2) {
      barrier();
      for (int pair = threadIdx.x; pair < size / 2; pair += blockDim.x) {
        const int low = 2 * pair - (pair & (distance - 1)), high = low + distance;
        const uint64_t a = keys[low], b = keys[high];
        if ((a > b) == ((low & run) == 0)) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  barrier();
}

/// The upper half of a key is the row, the lower one the token's number in its chunk.
__device__ void sort_tokens(const SortTokensArguments &a) {
  uint64_t *const keys = sharedMemory<uint64_t>();
  for (int64_t begin = blockIdx.x * kSortedTokens; begin < a.tokens; begin += gridDim.x * kSortedTokens) {
    const int64_t count = a.tokens - begin < kSortedTokens ? a.tokens - begin : kSortedTokens;
    for (int i = threadIdx.x; i < a.size; i += blockDim.x) {
      const int64_t id = i < count ? a.ids[begin + i] : -1;
      const int64_t entry = id == a.padding ? -1 : entryOf(id, a.entries, a.tensorRank);
      keys[i] = entry < 0 ? kNoRow : uint64_t(entry) << 32 | uint64_t(i);
    }
    sortShared(keys, a.size);
    for (int i = threadIdx.x; i < count; i += blockDim.x) // the places that this thread writes next
      a.sorted[begin + i] = keys[i];
  }
}

/// One chunk: a warp for each token that is the first one of its row, and for each 32 N columns.
template <typename T, int N>
__device__ void addRuns(const AddTokensArguments &a) {
  const int64_t strips = (a.columns + 32 * N - 1) / (32 * N);
  for (int64_t item = gridThread() / 32; item < a.count * strips; item += gridThreads() / 32) {
    const int64_t first = item / strips, column = (item % strips * 32 + threadIdx.x % 32) * N;
    const uint64_t key = a.sorted[first], row = key >> 32;
    if (key == kNoRow || (first > 0 && a.sorted[first - 1] >> 32 == row) || column >= a.columns)
      continue;
    int64_t end = first + 1;
    while (end < a.count && a.sorted[end] >> 32 == row)
      ++end;
    float *const to = a.acc + int64_t(row) * a.columns + column;
    float sum[N];
    readPiece(to, sum);
#pragma unroll 4
    for (int64_t i = first; i < end; ++i) {
      float g[N];
      readPiece(static_cast<const T *>(a.g) + int64_t(uint32_t(a.sorted[i])) * a.columns + column, g);
#pragma unroll
      for (int k = 0; k < N; ++k)
        sum[k] += g[k];
    }
    writePiece(to, sum);
  }
}

template <typename T>
__device__ void add_tokens(const AddTokensArguments &a) {
  if (a.columns % 4 == 0)
    addRuns<T, 4>(a);
  else
    addRuns<T, 1>(a);
}

} // namespace

STAGEWRIGHT_KERNELS(embedding, EmbeddingArguments)
STAGEWRIGHT_KERNEL(sort_tokens, SortTokensArguments)
STAGEWRIGHT_KERNELS(add_tokens, AddTokensArguments)
