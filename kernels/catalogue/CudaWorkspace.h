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

/// A channel of [N,C,S] in chunks that one block adds up each: some whole samples, or a part of one.
struct ChannelChunks {
  std::int64_t samples;   ///< of a chunk; the last one may have fewer
  std::int64_t positions; ///< likewise
  std::int64_t parts;     ///< chunks of a sample
  std::int64_t count;     ///< of a channel
};
inline ChannelChunks channelChunks(std::int64_t samples, std::int64_t positions) {
  constexpr std::int64_t kMostChunks = 128, kLine = 64;
  // With S = 1 a block has 32 channels.
  const std::int64_t least = positions == 1 ? 2048 : 16384;
  const std::int64_t share = (samples * positions / kMostChunks + kLine) / kLine * kLine;
  const std::int64_t elements = std::max(least, share);
  const std::int64_t ofChunk = std::clamp<std::int64_t>(elements / positions, 1, samples);
  const std::int64_t parts = (positions + elements - 1) / elements;
  return {ofChunk, std::min(positions, elements), parts, (samples + ofChunk - 1) / ofChunk * parts};
}

} // namespace stagewright::catalogue

#endif
