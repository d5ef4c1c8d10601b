// How sums over dimensions are cut on CUDA: into parts that depend on shapes only, so that bits do.
#ifndef STAGEWRIGHT_CATALOGUE_CUDASUMS_H
#define STAGEWRIGHT_CATALOGUE_CUDASUMS_H

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

} // namespace stagewright::catalogue

#endif
