// How sums over rows are cut into chunks on CUDA, which the kernels and the rules of their workspace have in
// common. By the shape alone: the same call has the same order of sums on every GPU.
#ifndef STAGEWRIGHT_CATALOGUE_CUDAWORKSPACE_H
#define STAGEWRIGHT_CATALOGUE_CUDAWORKSPACE_H

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace stagewright::catalogue {

/// Whether a target is an NVIDIA GPU ("cuda:sm_90").
inline bool isCuda(std::string_view target) {
  return target.starts_with("cuda");
}

/// Rows that are added up by one block, whose sums are then added in order: column sums of a matrix.
inline std::int64_t rowsOfChunk(std::int64_t rows) {
  constexpr std::int64_t kLeast = 64, kMostChunks = 256;
  return std::max(kLeast, (rows + kMostChunks - 1) / kMostChunks);
}
inline std::int64_t rowChunks(std::int64_t rows) {
  return (rows + rowsOfChunk(rows) - 1) / rowsOfChunk(rows);
}

} // namespace stagewright::catalogue

#endif
