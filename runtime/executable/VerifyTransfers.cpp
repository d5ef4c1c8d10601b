// What ranks exchange: both sides of every transfer and of every collective must agree.
#include "runtime/executable/Proof.h"

#include <algorithm>

namespace stagewright::runtime {

namespace {

using executable::TaskKind;

/// The stage at the other end of a transfer.
int partnerStage(TaskKind kind, int stage) {
  return kind == TaskKind::SendForward || kind == TaskKind::ReceiveBackward ? stage + 1 : stage - 1;
}

bool isTied(TaskKind kind) {
  return kind <= TaskKind::MAX && schedule::isTied(static_cast<schedule::TaskKind>(kind));
}

bool movesWeight(TaskKind kind) {
  return kind == TaskKind::SendWeight || kind == TaskKind::ReceiveWeight;
}

/// Whether the transfer moves the parameter, or what a replica has of it.
bool isPlace(const executable::Placement &place, const executable::Parameter &parameter,
             const executable::Transfer &transfer) {
  for (unsigned i = 0; place.shards() && i < place.shards()->size(); ++i) {
    const executable::StateSlice &piece = *place.shards()->Get(i);
    if (piece.replica() == transfer.replica() && piece.arena() == transfer.arena() &&
        piece.offset() == transfer.offset() && bytesOf(piece.dtype(), piece.shape()) == transfer.bytes()) {
      return true;
    }
  }
  return transfer.replica() == -1 && place.arena() == transfer.arena() &&
         place.offset() == transfer.offset() &&
         bytesOf(parameter.dtype(), parameter.shape()) == transfer.bytes();
}

/// Of a tied parameter: weights move from place to place, sums of gradients between arenas of gradients.
Result<void> verifyTied(const Proof &proof, int rank, const executable::Transfer &transfer,
                        const std::string &field) {
  const executable::RankPlan &plan = *proof.variant->ranks()->Get(rank);
  const int partner = transfer.partner();
  if (partner < 0 || partner >= proof.stages() || proof.train.rankOfStage[partner] != transfer.peer()) {
    return proof.fail(field + ".peer",
                      "rank " + std::to_string(transfer.peer()) + " does not hold the partner stage");
  }
  const bool ofOwner = transfer.kind() == TaskKind::ReceiveSum || transfer.kind() == TaskKind::SendWeight;
  const schedule::Tie tie{ofOwner ? transfer.stage() : partner, ofOwner ? partner : transfer.stage()};
  if (!std::binary_search(proof.ties.begin(), proof.ties.end(), tie)) {
    return proof.fail(field + ".partner", "the two stages share no parameter");
  }
  if (transfer.arena() < 0 || transfer.arena() >= static_cast<int>(plan.arenas()->size())) {
    return proof.fail(field + ".arena", "there is no such arena");
  }
  const executable::Arena &arena = *plan.arenas()->Get(static_cast<unsigned>(transfer.arena()));
  if (arena.tier() == executable::MemoryTier::File) {
    return proof.fail(field + ".arena", "nothing is sent out of a file");
  }
  if (!rangeWithin(transfer.offset(), transfer.bytes(), arena.bytes()) || transfer.bytes() == 0) {
    return proof.fail(field + ".bytes", "the transfer does not lie inside its arena");
  }
  if (!movesWeight(transfer.kind())) {
    return arena.arena_class() == executable::ArenaClass::Gradients
               ? Result<void>()
               : proof.fail(field + ".arena", "a gradient sum lies among the gradients");
  }
  const bool known = std::any_of(
      plan.placements()->begin(), plan.placements()->end(), [&](const executable::Placement *place) {
        const executable::Parameter &parameter =
            *proof.file.parameters()->Get(static_cast<unsigned>(place->parameter()));
        const auto *holders = parameter.holders();
        return parameter.stage() == tie.owner && holders &&
               std::find(holders->begin(), holders->end(), tie.holder) != holders->end() &&
               isPlace(*place, parameter, transfer);
      });
  return known ? Result<void>()
               : proof.fail(field + ".offset", "no parameter that both stages hold lies there");
}

bool isSend(TaskKind kind) {
  return kind == TaskKind::SendForward || kind == TaskKind::SendBackward;
}

Result<void> verifyTransfer(const Proof &proof, int rank, const executable::Transfer &transfer,
                            const std::string &field) {
  const executable::RankPlan &plan = *proof.variant->ranks()->Get(rank);
  const TaskKind kind = transfer.kind();
  const bool tied = isTied(kind);
  if (kind > TaskKind::MAX || (!tied && !schedule::isTransfer(static_cast<schedule::TaskKind>(kind)))) {
    return proof.fail(field + ".kind", "not a transfer");
  }
  if (!proof.owns(rank, transfer.stage())) {
    return proof.fail(field + ".stage", "the transfer is for a stage of another rank");
  }
  const bool divided = movesWeight(kind) ? proof.shardsWeights() : isTied(kind) && proof.shards();
  if (divided ? !proof.hasUpdater(transfer.replica()) : transfer.replica() != -1) {
    return proof.fail(field + ".replica",
                      "replicas move their own parts of tied parameters, and all move the rest");
  }
  if (tied) {
    return verifyTied(proof, rank, transfer, field);
  }
  if (transfer.partner() != -1 || transfer.arena() != -1) {
    return proof.fail(field + ".partner", "the transfer is of no tied parameter");
  }
  const int partner = partnerStage(kind, transfer.stage());
  if (partner < 0 || partner >= proof.stages() || proof.train.rankOfStage[partner] != transfer.peer() ||
      transfer.peer() == rank) {
    return proof.fail(field + ".peer",
                      "rank " + std::to_string(transfer.peer()) + " does not hold the neighbour stage");
  }
  if (transfer.pool() >= plan.pools()->size()) {
    return proof.fail(field + ".pool", "there is no such pool");
  }
  const executable::SlotPool &pool = *plan.pools()->Get(transfer.pool());
  const auto range = rangeWithin(transfer.offset(), transfer.bytes(), pool.slot_bytes());
  if (!range || transfer.bytes() == 0) {
    return proof.fail(field + ".bytes", "the transfer does not lie inside its slot");
  }
  // A receive begins the life of its value; a sent value exists before, and lives on until the transfer is
  // complete.
  const bool fits = isSend(kind) ? pool.sent() && (kind == TaskKind::SendForward) ==
                                                      (moment(pool.first()) <= moment(TaskKind::Forward))
                                 : pool.first() == kind;
  if (pool.stage() != transfer.stage() || !fits) {
    return proof.fail(field + ".pool", "pool \"" + pool.name()->str() + "\" does not hold this value");
  }
  return {};
}

/// The transfers of one task, in the order of the table: the order in which they go over the channel.
std::vector<const executable::Transfer *> transfersOf(const Proof &proof, TaskKind kind, int stage,
                                                      int partner = -1) {
  std::vector<const executable::Transfer *> result;
  for (const executable::Transfer *transfer :
       *proof.variant->ranks()->Get(proof.train.rankOfStage[stage])->transfers()) {
    if (transfer->kind() == kind && transfer->stage() == stage && transfer->partner() == partner) {
      result.push_back(transfer);
    }
  }
  return result;
}

Result<void> verifySame(const Proof &proof, int from, int to,
                        const std::vector<const executable::Transfer *> &sends,
                        const std::vector<const executable::Transfer *> &receives) {
  const bool same = std::equal(sends.begin(), sends.end(), receives.begin(), receives.end(),
                               [](const executable::Transfer *a, const executable::Transfer *b) {
                                 return a->bytes() == b->bytes() && a->replica() == b->replica();
                               });
  if (sends.empty() || !same) {
    return proof.fail("ranks.transfers", "stage " + std::to_string(from) + " sends stage " +
                                             std::to_string(to) +
                                             " something else than it receives, or nothing");
  }
  return {};
}

Result<void> verifyBothSides(const Proof &proof) {
  for (const schedule::Tie &tie : proof.ties) {
    for (const bool weight : {false, true}) {
      const int from = weight ? tie.owner : tie.holder, to = weight ? tie.holder : tie.owner;
      const auto sends = transfersOf(proof, weight ? TaskKind::SendWeight : TaskKind::SendSum, from, to);
      const auto receives =
          transfersOf(proof, weight ? TaskKind::ReceiveWeight : TaskKind::ReceiveSum, to, from);
      if (auto ok = verifySame(proof, from, to, sends, receives); !ok) {
        return ok;
      }
    }
  }
  for (int stage = 0; stage + 1 < proof.stages(); ++stage) {
    if (proof.train.rankOfStage[stage] == proof.train.rankOfStage[stage + 1]) {
      continue;
    }
    for (const bool forward : {true, false}) {
      const int from = forward ? stage : stage + 1, to = forward ? stage + 1 : stage;
      const auto sends = transfersOf(proof, forward ? TaskKind::SendForward : TaskKind::SendBackward, from);
      const auto receives =
          transfersOf(proof, forward ? TaskKind::ReceiveForward : TaskKind::ReceiveBackward, to);
      if (auto ok = verifySame(proof, from, to, sends, receives); !ok) {
        return ok;
      }
    }
  }
  return {};
}

Result<void> verifyCollective(const Proof &proof, const char *name,
                              const executable::Collective *(executable::RankPlan::*get)() const) {
  const auto &ranks = *proof.variant->ranks();
  const executable::Collective *first = (ranks.Get(0)->*get)();
  for (unsigned rank = 0; rank < ranks.size(); ++rank) {
    const executable::RankPlan &plan = *ranks.Get(rank);
    const std::string field = indexed("ranks", rank) + "." + name;
    const executable::Collective *own = (plan.*get)();
    if (!own) {
      return proof.fail(field, "ALL_GATHER has nothing to gather");
    }
    if (!isInDevice(plan, own->arena())) {
      return proof.fail(field + ".arena", "there is no such arena");
    }
    if (own->segments()->size() != first->segments()->size()) {
      return proof.fail(field + ".segments", "the ranks do not agree on what they gather");
    }
    std::vector<Range> ranges;
    for (unsigned i = 0; i < own->segments()->size(); ++i) {
      const executable::Segment &segment = *own->segments()->Get(i), &other = *first->segments()->Get(i);
      const auto range =
          rangeWithin(segment.offset(), segment.bytes(), plan.arenas()->Get(own->arena())->bytes());
      if (!range || segment.rank() < 0 || segment.rank() >= static_cast<int>(ranks.size())) {
        return proof.fail(indexed(field + ".segments", i),
                          "the segment is of no rank or not inside its arena");
      }
      if (segment.rank() != other.rank() || segment.offset() != other.offset() ||
          segment.bytes() != other.bytes()) {
        return proof.fail(indexed(field + ".segments", i), "the ranks do not agree on what they gather");
      }
      if (segment.bytes()) {
        ranges.push_back(*range);
      }
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range &a, const Range &b) { return a.begin < b.begin; });
    for (std::size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i - 1].end > ranges[i].begin) {
        return proof.fail(field + ".segments", "segments overlap");
      }
    }
  }
  return {};
}

/// All ranks decide by this scalar whether to go on, or rank 0 reports what another rank has computed: it is
/// gathered, and so the same on all of them.
Result<void> verifyShared(const Proof &proof, const char *name,
                          const executable::Collective *(executable::RankPlan::*get)() const,
                          std::string_view scalarName) {
  const auto &ranks = *proof.variant->ranks();
  const executable::Scalar *first = findScalar(*ranks.Get(0), scalarName);
  for (unsigned rank = 0; ranks.size() > 1 && rank < ranks.size(); ++rank) {
    const executable::Collective &collective = *(ranks.Get(rank)->*get)();
    const executable::Scalar *own = findScalar(*ranks.Get(rank), scalarName);
    const std::string field = indexed("ranks", rank) + "." + name;
    if (!own || !first) {
      return proof.fail(field, "scalar \"" + std::string(scalarName) + "\" is missing");
    }
    const Range cell{own->offset(),
                     own->offset() +
                         own->count() * catalogue::byteSize(static_cast<catalogue::DType>(own->dtype()))};
    const bool gathered =
        std::any_of(collective.segments()->begin(), collective.segments()->end(),
                    [&](const executable::Segment *segment) {
                      return segment->offset() <= cell.begin &&
                             cell.end <= segment->offset() + segment->bytes(); // both inside the arena
                    });
    if (own->arena() != collective.arena() || own->offset() != first->offset() || !gathered) {
      return proof.fail(field, "scalar \"" + std::string(scalarName) +
                                   "\" is not gathered, so that the ranks could disagree on it");
    }
  }
  return {};
}

/// Each micro-batch has a request for each transfer: room for them is taken when the file is loaded.
constexpr std::uint64_t kMaxRequests = std::uint64_t{1} << 22;

} // namespace

Result<void> verifyTransfers(const Proof &proof) {
  for (int rank = 0; rank < proof.file.pipeline_ranks(); ++rank) {
    const auto &transfers = *proof.variant->ranks()->Get(rank)->transfers();
    if (transfers.size() > kMaxRequests / static_cast<unsigned>(proof.microBatches())) {
      return proof.fail(indexed("ranks", rank) + ".transfers",
                        std::to_string(transfers.size()) + " transfers for each of " +
                            std::to_string(proof.microBatches()) + " micro-batches are too many");
    }
    for (unsigned i = 0; i < transfers.size(); ++i) {
      const std::string field = indexed(indexed("ranks", rank) + ".transfers", i);
      if (auto ok = verifyTransfer(proof, rank, *transfers.Get(i), field); !ok) {
        return ok;
      }
    }
  }
  if (auto ok = verifyBothSides(proof); !ok) {
    return ok;
  }
  if (auto ok = verifyCollective(proof, "train_collective", &executable::RankPlan::train_collective); !ok) {
    return ok;
  }
  if (auto ok = verifyShared(proof, "train_collective", &executable::RankPlan::train_collective, "loss");
      !ok) {
    return ok;
  }
  const auto evaluate = &executable::RankPlan::evaluate_collective;
  if (auto ok = verifyCollective(proof, "evaluate_collective", evaluate); !ok) {
    return ok;
  }
  if (auto ok = verifyShared(proof, "evaluate_collective", evaluate, "losses"); !ok) {
    return ok;
  }
  return proof.file.accuracy() ? verifyShared(proof, "evaluate_collective", evaluate, "correct")
                               : Result<void>();
}

} // namespace stagewright::runtime
