// How replicas divide the parameters of a stage between them (ZeRO): shared by the compiler, which cuts, and
// by `inspect`, which prints what other settings would cost.
#ifndef STAGEWRIGHT_SCHEDULE_SHARDS_H
#define STAGEWRIGHT_SCHEDULE_SHARDS_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stagewright::schedule {

/// A parameter to be divided.
struct Divided {
  std::int64_t elements = 0;
  std::int64_t granule = 0; ///< it is cut at multiples of this many elements only
  int chunk = 0;            ///< neighbours of one chunk (a block's parameters) are divided together
};

/// Elements [first, first + elements) of parameter `parameter`, which belong to `replica`: they begin at
/// element `offset` of its shard, a multiple of 64 bytes.
struct ShardPiece {
  std::size_t parameter = 0;
  std::int64_t first = 0, elements = 0;
  int replica = 0;
  std::int64_t offset = 0;
  bool operator==(const ShardPiece &) const = default;
};

/// The pieces of all parameters in their order, each replica's with ascending offsets. Every chunk is spread
/// over all replicas, as evenly as its granules allow, and what one chunk leaves uneven the next one evens
/// out: the totals of two replicas differ by at most two granules of the largest kind.
std::vector<ShardPiece> cutShards(const std::vector<Divided> &parameters, int replicas);

/// Elements of the largest shard, its end rounded up to 64 bytes.
std::int64_t shardElements(const std::vector<ShardPiece> &pieces);

} // namespace stagewright::schedule

#endif
