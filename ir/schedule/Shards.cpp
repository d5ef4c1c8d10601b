#include "schedule/Shards.h"

#include <algorithm>

namespace stagewright::schedule {

namespace {

/// 64 bytes of fp32.
constexpr std::int64_t kLine = 16;

std::int64_t roundUp(std::int64_t elements) {
  return (elements + kLine - 1) / kLine * kLine;
}

} // namespace

//   chunk     | granule | granule | granule | granule | gr |     by the middle of a granule
//   quotas    |  replica 0  | 1 |    replica 2      |  3   |     what each lacks of an equal share so far
std::vector<ShardPiece> cutShards(const std::vector<Divided> &parameters, int replicas) {
  std::vector<ShardPiece> pieces;
  std::vector<std::int64_t> held(static_cast<std::size_t>(replicas), 0), offsets = held, quotaEnds = held;
  std::int64_t total = 0;
  for (std::size_t begin = 0, end = 0; begin < parameters.size(); begin = end) {
    std::int64_t elements = 0;
    for (; end < parameters.size() && parameters[end].chunk == parameters[begin].chunk; ++end) {
      elements += parameters[end].elements;
    }
    total += elements;
    std::int64_t quotas = 0;
    for (std::size_t r = 0; r < held.size(); ++r) {
      quotas += std::max<std::int64_t>(0, total - replicas * held[r]);
      quotaEnds[r] = quotas;
    }
    std::int64_t at = 0; // in the chunk
    int replica = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const Divided &parameter = parameters[i];
      bool isFirst = true;
      for (std::int64_t first = 0; first < parameter.elements; first += parameter.granule) {
        const std::int64_t size = std::min(parameter.granule, parameter.elements - first);
        const auto middle = static_cast<__int128>(2 * at + size) * quotas;
        while (replica + 1 < replicas &&
               middle >= static_cast<__int128>(2 * elements) * quotaEnds[static_cast<std::size_t>(replica)]) {
          ++replica;
        }
        if (isFirst || pieces.back().replica != replica) {
          pieces.push_back({i, first, 0, replica, 0});
        }
        pieces.back().elements += size;
        held[static_cast<std::size_t>(replica)] += size;
        at += size;
        isFirst = false;
      }
    }
  }
  for (ShardPiece &piece : pieces) {
    std::int64_t &offset = offsets[static_cast<std::size_t>(piece.replica)];
    piece.offset = offset;
    offset += roundUp(piece.elements);
  }
  return pieces;
}

std::int64_t shardElements(const std::vector<ShardPiece> &pieces) {
  std::int64_t most = 0;
  for (const ShardPiece &piece : pieces) {
    most = std::max(most, piece.offset + roundUp(piece.elements));
  }
  return most;
}

} // namespace stagewright::schedule
