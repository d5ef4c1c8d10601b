// Family embedding.
#include "kernels/cuda/Maps.h"
#include "kernels/cuda/device/EmbeddingArguments.h"

#include <bit>

namespace stagewright::cuda {
namespace {

const std::int32_t *tensorRank(const Enqueue &call) {
  return call.has(3) ? call.operand<const std::int32_t>(3) : nullptr;
}

Result<void> embedding(const Enqueue &call) {
  return call.launchTyped("embedding", mapGrid(call.call.elements(2)),
                          EmbeddingArguments{.ids = call.operand<const std::int32_t>(0),
                                             .weight = call.operand<const float>(1),
                                             .y = call.operand(2),
                                             .tensorRank = tensorRank(call),
                                             .tokens = call.call.size(0, 0),
                                             .entries = call.call.size(1, 0),
                                             .columns = call.call.size(1, 1)});
}

Result<void> sortTokens(const Enqueue &call) {
  const std::int64_t tokens = call.call.size(0, 0);
  const auto size = std::bit_ceil(static_cast<std::uint64_t>(std::min(tokens, kSortedTokens)));
  const auto threads = static_cast<unsigned>(std::clamp<std::uint64_t>(size / 2, 32, 1024));
  Grid grid = gridFor((tokens + kSortedTokens - 1) / kSortedTokens * threads, threads); // a block each
  grid.sharedBytes = size * sizeof(std::uint64_t);
  return call.launch("sort_tokens", grid,
                     SortTokensArguments{.ids = call.operand<const std::int32_t>(0),
                                         .tensorRank = tensorRank(call),
                                         .sorted = static_cast<std::uint64_t *>(call.workspace),
                                         .tokens = tokens,
                                         .entries = call.call.size(2, 0),
                                         .padding = call.call.integers[0],
                                         .size = static_cast<std::int32_t>(size)});
}

/// Chunks follow each other: a row may have tokens in several.
Result<void> embeddingGrad(const Enqueue &call) {
  auto ok = sortTokens(call);
  const std::int64_t tokens = call.call.size(0, 0), columns = call.call.size(2, 1);
  const std::size_t bytes = call.call.element == kernels::Element::F32 ? 4 : 2;
  for (std::int64_t begin = 0; begin < tokens && ok; begin += kSortedTokens) {
    const std::int64_t count = std::min(kSortedTokens, tokens - begin);
    const std::int64_t width = columns % 4 == 0 ? 4 : 1;
    const std::int64_t perToken = (columns + 32 * width - 1) / (32 * width) * 32; // whole warps
    const auto *const g =
        call.operand<const std::byte>(1) + static_cast<std::size_t>(begin * columns) * bytes;
    ok = call.launchTyped(
        "add_tokens", gridFor(count * perToken),
        AddTokensArguments{.sorted = static_cast<const std::uint64_t *>(call.workspace) + begin,
                           .g = g,
                           .acc = call.operand<float>(2),
                           .count = count,
                           .columns = columns});
  }
  return ok;
}

const CudaKernel kKernels[] = {{"embedding", 1, embedding}, {"embedding_grad", 1, embeddingGrad}};

} // namespace

Family embeddingFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
