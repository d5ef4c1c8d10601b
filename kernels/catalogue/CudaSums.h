// How sums are cut on CUDA: into parts that depend on shapes only, so that bits do. The kernels and the rules
// of their workspace have it in common.
#ifndef STAGEWRIGHT_CATALOGUE_CUDASUMS_H
#define STAGEWRIGHT_CATALOGUE_CUDASUMS_H

#include "catalogue/Catalogue.h"
#include "catalogue/Target.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace stagewright::catalogue {

/// A block of 256 threads computes `columns` sums of one chunk of their terms; the chunks' sums, in fp64, are
/// added by a second launch.
struct CudaSumPlan {
  std::int64_t columns = 1; ///< a power of two
  std::int64_t chunks = 1;
};

/// `sums` sums of `terms` terms each. `besideEachOther`: neighbours in memory belong to different sums.
inline CudaSumPlan cudaSumPlan(std::int64_t sums, std::int64_t terms, bool besideEachOther) {
  constexpr std::int64_t kBlocks = 1024;   // enough for a GPU
  constexpr std::int64_t kPerBlock = 8192; // terms that are worth one
  const auto few =
      static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::min<std::int64_t>(sums, 32))));
  CudaSumPlan plan;
  plan.columns = besideEachOther ? few : terms <= 2048 ? std::min<std::int64_t>(few, 8) : 1;
  const std::int64_t groups = (sums + plan.columns - 1) / plan.columns;
  const std::int64_t most = (terms * plan.columns + kPerBlock - 1) / kPerBlock;
  plan.chunks = std::clamp<std::int64_t>((kBlocks + groups - 1) / groups, 1, std::max<std::int64_t>(most, 1));
  return plan;
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

/// Workspace of cuDNN for a convolution of [samples, inputs, image] to [samples, outputs, positions]: copies
/// of halves with channels last, in eights, which its fast kernels work on, and what all products have.
inline std::size_t convolutionScratch(std::int64_t samples, std::int64_t inputs, std::int64_t image,
                                      std::int64_t outputs, std::int64_t positions) {
  const auto eights = [](std::int64_t channels) { return (channels + 7) / 8 * 8; };
  return kCudaWorkspace +
         static_cast<std::size_t>(samples * (eights(inputs) * image + eights(outputs) * positions)) * 2;
}
/// In front of it, for the gradient of a weight: the gradient in fp32.
inline std::size_t weightGradientBytes(std::int64_t elements) {
  constexpr std::size_t kLine = 256;
  return (static_cast<std::size_t>(elements) * sizeof(float) + kLine - 1) / kLine * kLine;
}

/// Workspace of the gradient of attention by cuDNN: its statistics, then what its deterministic algorithm
/// needs, 0 where that is more than a gradient is worth.
struct AttentionScratch {
  std::size_t statistics = 0, library = 0;
};
inline AttentionScratch attentionScratch(std::int64_t batch, std::int64_t queries, std::int64_t heads,
                                         std::int64_t keys, std::int64_t keyHeads, std::int64_t headSize) {
  constexpr std::int64_t kMost = std::int64_t(512) << 20, kBeside = std::int64_t(1) << 20;
  const auto blocks = [](std::int64_t length) { return (length + 63) / 64 * 64; };
  // Halves of a score for each query and key, sums of queries, and heads of keys before they are added up.
  const std::int64_t scores = elements({batch, heads, blocks(queries), blocks(keys)}),
                     rows = elements({batch, heads, queries}),
                     fullKeys = heads == keyHeads ? 0 : elements({batch, heads, keys, headSize});
  AttentionScratch out;
  out.statistics = static_cast<std::size_t>((rows * 4 + 255) / 256 * 256);
  if (scores >= 0 && fullKeys >= 0 && scores < kMost && fullKeys < kMost) {
    const std::int64_t bytes = scores * 2 + rows * 4 + fullKeys * 4 + kBeside;
    out.library = bytes > kMost ? 0 : static_cast<std::size_t>(bytes);
  }
  return out;
}

} // namespace stagewright::catalogue

#endif
