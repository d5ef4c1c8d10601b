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

/// Of one replica's pieces.
int64_t bytesOfPart(int64_t replicas) {
  constexpr int64_t line = catalogue::kAlignment;
  return std::max(kScratchBytes / (replicas - 1) / line * line, line);
}

} // namespace

std::vector<Ranges> exchangeParts(const Ranges &chunk, int64_t replicas) {
  const int64_t most = bytesOfPart(replicas);
  std::vector<Ranges> parts;
  std::map<int, int64_t> used; // of each replica, in all parts
  for (Exchanged range : chunk) {
    for (int64_t &bytes = used[range.replica]; range.begin < range.end;) {
      auto part = static_cast<size_t>(bytes / most);
      int64_t taken = std::min(range.end - range.begin, most - bytes % most);
      parts.resize(std::max(parts.size(), part + 1));
      parts[part].push_back({range.begin, range.begin + taken, range.replica, range.shard});
      range.begin += taken;
      range.shard += taken;
      bytes += catalogue::aligned(taken);
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
            held[blockName(sum.last->getLoc())][piece.replica] += catalogue::aligned(4 * piece.elements);
          }
        }
      }
    }
    int64_t part = bytesOfPart(settings.getDataParallel());
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
  // What is sent in 16 bits is converted into scratch first. Its lines are no more than those of fp32.
  bool isNarrow = settings.wireBytes() != 4;
  return {most + (isNarrow ? sent : 0), slots};
}

} // namespace stagewright
