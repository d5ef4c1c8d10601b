// What the replicas of a rank exchange, and which of them makes which part of an update (ZeRO): all of them
// must end a step with the same weights.
#include "runtime/executable/RankReplicas.h"

#include <algorithm>
#include <tuple>

namespace stagewright::runtime {

using executable::ArenaClass;
using executable::ProgramKind;
using executable::TaskKind;

Result<void> RankReplicas::run() {
  unsigned reductions = 0;
  for (unsigned i = 0; plan.reductions() && i < plan.reductions()->size(); ++i) {
    reductions += !plan.reductions()->Get(i)->tensor();
  }
  const unsigned gathers = plan.gathers() ? plan.gathers()->size() : 0;
  if (proof.file.recipe()->data_parallel() == 1 && reductions + gathers > 0) {
    return proof.fail(at + (reductions ? "reductions" : "gathers"),
                      "there is one replica, and nothing to exchange");
  }
  for (auto check :
       {&RankReplicas::collectReductions, &RankReplicas::collectGathers, &RankReplicas::collectExchanges,
        &RankReplicas::points, &RankReplicas::sums, &RankReplicas::loss, &RankReplicas::commands}) {
    if (auto ok = (this->*check)(); !ok) {
      return ok;
    }
  }
  return {};
}

Result<Range> RankReplicas::inside(unsigned arena, std::uint64_t offset, std::uint64_t bytes,
                                   std::uint64_t unit, const std::string &field) const {
  const auto range = rangeWithin(offset, bytes, plan.arenas()->Get(arena)->bytes());
  if (!range || bytes == 0 || bytes % unit || offset % unit) {
    return proof.fail(field + ".bytes", "these are not whole elements inside the arena");
  }
  return *range;
}

void ExchangedBytes::add(const Exchanged &bytes) {
  list.push_back(bytes);
  ranges[{bytes.stage, bytes.arena}][bytes.replica][bytes.range.begin] = bytes.range.end;
}

bool ExchangedBytes::covers(const Exchanged &wanted, bool ofAny) const {
  const auto found = ranges.find({wanted.stage, wanted.arena});
  std::uint64_t at = wanted.range.begin;
  for (bool moved = found != ranges.end(); moved && at < wanted.range.end;) {
    moved = false;
    for (const auto &[replica, set] : found->second) {
      auto next = ofAny || replica == wanted.replica ? set.upper_bound(at) : set.begin();
      if (next != set.begin() && (--next)->second > at) { // the last one that begins here or before
        at = next->second;
        moved = true;
      }
    }
  }
  return at >= wanted.range.end;
}

/// On a replica alone, or across all of them.
Result<void> RankReplicas::disjoint(std::vector<Exchanged> list, const std::string &field,
                                    bool onEachReplica) const {
  const auto owner = [&](const Exchanged &entry) { return onEachReplica ? entry.replica : 0; };
  std::sort(list.begin(), list.end(), [&](const Exchanged &a, const Exchanged &b) {
    return std::tuple(owner(a), a.arena, a.range.begin) < std::tuple(owner(b), b.arena, b.range.begin);
  });
  for (std::size_t i = 1; i < list.size(); ++i) {
    if (owner(list[i - 1]) == owner(list[i]) && list[i - 1].arena == list[i].arena &&
        list[i - 1].range.end > list[i].range.begin) {
      return proof.fail(field, "ranges overlap");
    }
  }
  return {};
}

Result<void> RankReplicas::collectReductions() {
  for (unsigned i = 0; plan.reductions() && i < plan.reductions()->size(); ++i) {
    const executable::Reduction &reduction = *plan.reductions()->Get(i);
    const std::string field = indexed(at + "reductions", i);
    const bool isGradient = reduction.stage() >= 0;
    if (reduction.tensor()) {
      continue; // VerifyTensorRanks.cpp
    }
    if (reduction.stage() != -1 && !proof.owns(rank, reduction.stage())) {
      return proof.fail(field + ".stage", "the rank does not hold the stage");
    }
    if (!isInDevice(plan, reduction.arena())) {
      return proof.fail(field + ".arena", "there is no such arena");
    }
    if ((plan.arenas()->Get(reduction.arena())->arena_class() == ArenaClass::Gradients) != isGradient ||
        reduction.dtype() != (isGradient ? executable::DType::F32 : executable::DType::F64) ||
        reduction.mean() == isGradient) {
      return proof.fail(field, "sums of f32 gradients and means of f64 losses are reduced, and nothing else");
    }
    if (isGradient && !proof.wire().isExact()) {
      return proof.fail(field, "REDUCE adds up gradients in f32, but they travel in 16 bits or compressed");
    }
    if (isGradient && proof.reducesMicroBatches()) {
      return proof.fail(field, "gradients are added up after each micro-batch, not in REDUCE");
    }
    if (isGradient && proof.shards() ? !proof.hasUpdater(reduction.replica()) : reduction.replica() != -1) {
      return proof.fail(field + ".replica",
                        "with ZeRO every gradient sum belongs to a replica, and nothing else does");
    }
    auto range = inside(reduction.arena(), reduction.offset(), reduction.bytes(), isGradient ? 4 : 8, field);
    if (!range) {
      return range.takeError();
    }
    reduced.add({reduction.stage(), reduction.arena(), *range, reduction.replica()});
  }
  return disjoint(reduced.all(), at + "reductions");
}

Result<void> RankReplicas::collectGathers() {
  for (unsigned i = 0; plan.gathers() && i < plan.gathers()->size(); ++i) {
    const executable::ReplicaGather &gather = *plan.gathers()->Get(i);
    const std::string field = indexed(at + "gathers", i);
    if (!proof.owns(rank, gather.stage())) {
      return proof.fail(field + ".stage", "the rank does not hold the stage");
    }
    if (!isInDevice(plan, gather.arena()) || !proof.hasUpdater(gather.replica())) {
      return proof.fail(field + ".arena", "there is no such arena, or no such replica");
    }
    const ArenaClass arena = plan.arenas()->Get(gather.arena())->arena_class();
    const bool isKnown =
        gather.task() == TaskKind::Reduce ? !proof.shards() && arena == ArenaClass::Gradients
        : gather.task() == TaskKind::Gather
            ? proof.sharesWeights() && arena == ArenaClass::Parameters
            : gather.task() == TaskKind::AllGather && proof.shards() && arena == ArenaClass::Scalars;
    if (!isKnown) {
      return proof.fail(field + ".task", "REDUCE gathers sums of gradients, and with ZeRO GATHER weights and "
                                         "ALL_GATHER partial sums of the norm");
    }
    const std::uint64_t unit = arena == ArenaClass::Scalars ? 8 : 4;
    auto range = inside(gather.arena(), gather.offset(), gather.bytes(), unit, field);
    if (!range) {
      return range.takeError();
    }
    gathered.add({gather.stage(), gather.arena(), *range, gather.replica()});
  }
  return sharedOnce();
}

/// Where two replicas have bytes of their own at one place, they share them with different ones.
Result<void> RankReplicas::sharedOnce() const {
  for (int member = 0; member < (proof.repeatsShards() ? shardGroup(*proof.file.recipe()) : 1); ++member) {
    std::vector<Exchanged> list;
    for (const Exchanged &entry : gathered.all()) {
      const bool isWeight = isArenaOf(ArenaClass::Parameters, static_cast<int>(entry.arena));
      if (!isWeight || !proof.repeatsShards() || proof.hasShardOf(entry.replica, member)) {
        list.push_back(entry);
      }
    }
    if (auto ok = disjoint(std::move(list), at + "gathers"); !ok) {
      return ok;
    }
  }
  return {};
}

/// Whether a replica has all of a gradient sum: of its own stage, or received.
bool RankReplicas::sumIsOfReplica(const Exchanged &sum) const {
  return reduced.covers(sum) || std::any_of(plan.transfers()->begin(), plan.transfers()->end(),
                                            [&](const executable::Transfer *transfer) {
                                              return transfer->kind() == TaskKind::ReceiveSum &&
                                                     transfer->stage() == sum.stage &&
                                                     transfer->replica() == sum.replica &&
                                                     transfer->arena() == static_cast<int>(sum.arena) &&
                                                     transfer->offset() <= sum.range.begin &&
                                                     sum.range.end <= transfer->offset() + transfer->bytes();
                                            });
}

/// All that W adds to, and all that a holder sends, has been added up.
Result<void> RankReplicas::sums() {
  if (proof.file.recipe()->data_parallel() == 1) {
    return {};
  }
  for (const executable::Program *program : *plan.programs()) {
    for (const executable::Command *command : *program->commands()) {
      for (const executable::Operand *operand : *command->operands()) {
        const std::uint64_t bytes = *bytesOf(operand->dtype(), operand->shape());
        const bool isSum = program->kind() == ProgramKind::BackwardWeight &&
                           plan.arenas()->Get(operand->arena())->arena_class() == ArenaClass::Gradients;
        if (isSum &&
            !reduced.covers(
                {program->stage(), operand->arena(), {operand->offset(), operand->offset() + bytes}, -1},
                true)) {
          return proof.fail(at + "reductions", "a sum of gradients of stage " +
                                                   std::to_string(program->stage()) +
                                                   " is not added up, so that the replicas would part");
        }
      }
    }
  }
  for (const executable::Transfer *transfer : *plan.transfers()) {
    const Range range{transfer->offset(), transfer->offset() + transfer->bytes()};
    if (transfer->kind() == TaskKind::SendSum &&
        !reduced.covers(
            {transfer->stage(), static_cast<unsigned>(transfer->arena()), range, transfer->replica()},
            !proof.shards())) {
      return proof.fail(at + "reductions", "a gradient sum is sent that is not added up before");
    }
  }
  return {};
}

Result<void> RankReplicas::loss() {
  if (proof.file.recipe()->data_parallel() == 1) {
    return {};
  }
  const executable::Scalar *loss = findScalar(plan, "loss");
  const auto count = std::count_if(reduced.all().begin(), reduced.all().end(),
                                   [](const Exchanged &entry) { return entry.stage == -1; });
  if (!loss || count != 1 ||
      !reduced.covers({-1, loss->arena(), {loss->offset(), loss->offset() + 8ULL * loss->count()}, -1})) {
    return proof.fail(at + "reductions",
                      "the loss is not averaged, so that the replicas could disagree on it");
  }
  return {};
}

/// What one replica alone computes belongs to NORM and UPDATE; there, with ZeRO, no weight changes otherwise.
Result<void> RankReplicas::commands() {
  for (unsigned i = 0; i < plan.programs()->size(); ++i) {
    const executable::Program &program = *plan.programs()->Get(i);
    const bool divides =
        proof.shards() && (program.kind() == ProgramKind::Norm || program.kind() == ProgramKind::Update);
    for (unsigned j = 0; j < program.commands()->size(); ++j) {
      const executable::Command &command = *program.commands()->Get(j);
      const std::string field = indexed(indexed(at + "programs", i) + ".commands", j);
      if (command.replica() != -1 && !(divides && proof.hasUpdater(command.replica()))) {
        return proof.fail(field + ".replica", "a replica alone computes parts of the norm and of the update "
                                              "with ZeRO, and nothing else");
      }
      for (const executable::Operand *operand : *command.operands()) {
        if (isArenaOf(ArenaClass::Residuals, operand->arena())) {
          return proof.fail(field, "residuals are of exchanges, and no command touches them");
        }
      }
      const bool parts = divides && proof.file.recipe()->data_parallel() > 1;
      if (auto ok = parts ? ofReplica(program, command, field) : Result<void>(); !ok) {
        return ok;
      }
    }
  }
  return {};
}

/// It reads gradients that its replica has all of, and what it writes for all of them is gathered.
Result<void> RankReplicas::ofReplica(const executable::Program &program, const executable::Command &command,
                                     const std::string &field) {
  const catalogue::Kernel &kernel =
      *catalogue::find(proof.file.kernels()->Get(command.kernel())->name()->str(),
                       proof.file.kernels()->Get(command.kernel())->version());
  for (unsigned i = 0; i < command.operands()->size(); ++i) {
    const executable::Operand &operand = *command.operands()->Get(i);
    const ArenaClass arena = plan.arenas()->Get(operand.arena())->arena_class();
    const bool writes = kernel.operands[i].access != catalogue::Access::Read;
    const Range range{operand.offset(), operand.offset() + *bytesOf(operand.dtype(), operand.shape())};
    const Exchanged bytes{program.stage(), operand.arena(), range, command.replica()};
    const bool hasServers = proof.file.recipe()->servers() > 0;
    const bool isPartial = command.replica() != -1 && arena == ArenaClass::Scalars;
    const bool holds = arena == ArenaClass::Gradients ? sumIsOfReplica(bytes)
                       : !writes && arena == ArenaClass::Parameters
                           ? !hasServers || gathered.covers(bytes) // a server gets no weights of others
                       : arena == ArenaClass::Parameters
                           ? (!proof.shardsWeights() || isOwn(bytes, &executable::Placement::shards)) &&
                                 (!proof.sharesWeights() || gathered.covers(bytes))
                       : writes && isPartial ? gathered.covers(bytes)
                                             : true;
    if (!holds) {
      return proof.fail(indexed(field + ".operands", i),
                        "the replicas would part: one of them alone has these gradients, or would not share "
                        "what it makes");
    }
  }
  return {};
}

const executable::Scalar *findScalar(const executable::RankPlan &plan, std::string_view name) {
  for (const executable::Scalar *scalar : *plan.scalars()) {
    if (scalar->name()->string_view() == name) {
      return scalar;
    }
  }
  return nullptr;
}

Result<void> verifyReplicas(const Proof &proof) {
  for (int rank = 0; rank < proof.file.pipeline_ranks(); ++rank) {
    if (auto ok = RankReplicas(proof, rank).run(); !ok) {
      return ok;
    }
  }
  return {};
}

} // namespace stagewright::runtime
