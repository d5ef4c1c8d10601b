// Arguments of embeddings.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_EMBEDDINGARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_EMBEDDINGARGUMENTS_H

#include <stdint.h>

/// Tokens that one block sorts: 32 KiB of shared memory.
constexpr int64_t kSortedTokens = 4096;

struct EmbeddingArguments {
  const int32_t *ids;
  const float *weight; ///< [entries, columns]
  void *y;
  const int32_t *tensorRank; ///< or null
  int64_t tokens, entries, columns;
};

struct SortTokensArguments {
  const int32_t *ids;
  const int32_t *tensorRank; ///< or null
  uint64_t *sorted;
  int64_t tokens, entries, padding;
  int32_t size; ///< of the network: a power of two, at least the tokens of a chunk
};

struct AddTokensArguments {
  const uint64_t *sorted; ///< of the chunk
  const void *g;          ///< of its first token
  float *acc;
  int64_t count, columns; ///< tokens of the chunk
};

#endif
