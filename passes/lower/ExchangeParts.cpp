#include "passes/lower/ExchangeParts.h"

#include "passes/Provenance.h"
#include "passes/parallel/Shards.h"
#include "passes/parallel/TiedParameters.h"

#include "catalogue/Catalogue.h"

#include <map>

using namespace mlir;

namespace stagewright {

namespace {

/// Contributions of other replicas to one exchange, at most. A part of a chunk is as large as fits.
constexpr int64_t kScratchBytes = int64_t{4} << 20;

/// What a contribution to `bytes` of gradients takes. In 16 bits it gets as much as in fp32.
int64_t contributionTo(int64_t bytes, const catalogue::GradientWire &wire) {
  return catalogue::aligned(wire.compresses() ? wire.bytes(bytes / 4) : bytes);
}

/// Of one replica's pieces: a line of fp32, or a granule, at least.
int64_t bytesOfPart(int64_t replicas, const catalogue::GradientWire &wire) {
  constexpr int64_t line = catalogue::kAlignment;
  int64_t least = wire.compresses() ? contributionTo(4 * catalogue::kGranule, wire) : line;
  return std::max(kScratchBytes / (replicas - 1) / line * line, least);
}

} // namespace

std::vector<Ranges> exchangeParts(const Ranges &chunk, int64_t replicas,
                                  const catalogue::GradientWire &wire) {
  const int64_t most = bytesOfPart(replicas, wire);
  const int64_t unit = wire.compresses() ? 4 * catalogue::kGranule : catalogue::kAlignment;
  const int64_t ofUnit = wire.compresses() ? wire.bytes(catalogue::kGranule) : unit;
  struct End {
    size_t part = 0;
    int64_t used = 0;
  };
  std::vector<Ranges> parts;
  std::map<int, End> ends; // by replica
  for (Exchanged range : chunk) {
    for (auto &[part, used] = ends[range.replica]; range.begin < range.end;) {
      int64_t length = range.end - range.begin;
      int64_t taken = contributionTo(length, wire) <= most - used
                          ? length
                          : std::min((most - used) / ofUnit * unit, length);
      if (taken == 0) {
        ++part;
        used = 0;
        continue;
      }
      parts.resize(std::max(parts.size(), part + 1));
      parts[part].push_back({range.begin, range.begin + taken, range.replica, range.shard});
      range.begin += taken;
      range.shard += taken;
      used += contributionTo(taken, wire);
    }
  }
  return parts;
}

ExchangeScratch exchangeScratch(ModuleOp module, int64_t rank) {
  plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
  if (!settings.exchangesInPrograms()) {
    return {};
  }
  ShardTable shards(module);
  const catalogue::GradientWire wire = settings.gradientWire();
  int64_t most = 0, sent = 0, slots = 1;
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    if (stage.getRank() != rank) {
      continue;
    }
    std::map<StringRef, std::map<int, int64_t>> held; // of each block's chunk by replica
    for (auto &[parameter, list] : gradientSums(module)) {
      for (const GradientSum &sum : list) {
        for (const schedule::ShardPiece &piece : shards.pieces(stage.getIndex(), parameter)) {
          if (sum.stage == stage) {
            held[blockName(sum.last->getLoc())][piece.replica] += contributionTo(4 * piece.elements, wire);
          }
        }
      }
    }
    int64_t part = bytesOfPart(settings.getDataParallel(), wire);
    for (auto &[block, ofReplica] : held) {
      int64_t staged = 0;
      for (auto [replica, bytes] : ofReplica) {
        most = std::max(most, (settings.getDataParallel() - 1) * std::min(bytes, part));
        slots = held.size() > 1 || bytes > part ? kExchangesUnderWay : slots;
        staged += std::min(bytes, part);
      }
      sent = std::max(sent, staged);
    }
  }
  return {most + (wire.isExact() ? 0 : sent), slots}; // what is not sent exactly is converted into scratch
}

} // namespace stagewright
