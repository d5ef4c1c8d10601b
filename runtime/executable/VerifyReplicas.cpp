// What the replicas of a rank exchange, and which of them makes which part of an update (ZeRO): all of them
// must end a step with the same weights.
#include "runtime/executable/Proof.h"

#include <algorithm>

namespace stagewright::runtime {

namespace {

using executable::ArenaClass;
using executable::ProgramKind;
using executable::TaskKind;

/// Bytes that the replicas exchange; replica -1: all get the same.
struct Exchanged {
  int stage;
  unsigned arena;
  Range range;
  int replica;
};

/// The checks of one rank.
class RankReplicas {
public:
  RankReplicas(const Proof &proof, int rank)
      : proof(proof), rank(rank), plan(*proof.variant->ranks()->Get(static_cast<unsigned>(rank))),
        at(indexed("ranks", static_cast<unsigned>(rank)) + ".") {}

  Result<void> run() {
    const unsigned reductions = plan.reductions() ? plan.reductions()->size() : 0;
    const unsigned gathers = plan.gathers() ? plan.gathers()->size() : 0;
    if (proof.file.recipe()->data_parallel() == 1 && reductions > 0) {
      return proof.fail(at + "reductions", "there is one replica, and nothing to add up");
    }
    if (!proof.shards() && gathers > 0) {
      return proof.fail(at + "gathers", "no replica updates a part of its own");
    }
    for (auto check : {&RankReplicas::collectReductions, &RankReplicas::collectGathers, &RankReplicas::sums,
                       &RankReplicas::loss, &RankReplicas::commands}) {
      if (auto ok = (this->*check)(); !ok) {
        return ok;
      }
    }
    return {};
  }

private:
  Result<void> collectReductions();
  Result<void> collectGathers();
  Result<void> sums();
  Result<void> loss();
  Result<void> commands();
  Result<void> ofReplica(const executable::Program &program, const executable::Command &command,
                         const std::string &field);
  Result<Range> inside(unsigned arena, std::uint64_t offset, std::uint64_t bytes, std::uint64_t unit,
                       const std::string &field) const;
  Result<void> disjoint(std::vector<Exchanged> list, const std::string &field) const;
  bool sumIsOfReplica(const Exchanged &sum) const;
  bool covers(const std::vector<Exchanged> &list, const Exchanged &wanted, bool ofAny = false) const;

  const Proof &proof;
  const int rank;
  const executable::RankPlan &plan;
  const std::string at;
  std::vector<Exchanged> reduced, gathered;
};

Result<Range> RankReplicas::inside(unsigned arena, std::uint64_t offset, std::uint64_t bytes,
                                   std::uint64_t unit, const std::string &field) const {
  const auto range = rangeWithin(offset, bytes, plan.arenas()->Get(arena)->bytes());
  if (!range || bytes == 0 || bytes % unit || offset % unit) {
    return proof.fail(field + ".bytes", "these are not whole elements inside the arena");
  }
  return *range;
}

Result<void> RankReplicas::disjoint(std::vector<Exchanged> list, const std::string &field) const {
  std::sort(list.begin(), list.end(), [](const Exchanged &a, const Exchanged &b) {
    return std::pair(a.arena, a.range.begin) < std::pair(b.arena, b.range.begin);
  });
  for (std::size_t i = 1; i < list.size(); ++i) {
    if (list[i - 1].arena == list[i].arena && list[i - 1].range.end > list[i].range.begin) {
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
    if (reduction.stage() != -1 && !proof.owns(rank, reduction.stage())) {
      return proof.fail(field + ".stage", "the rank does not hold the stage");
    }
    if (reduction.arena() >= plan.arenas()->size()) {
      return proof.fail(field + ".arena", "there is no such arena");
    }
    if ((plan.arenas()->Get(reduction.arena())->arena_class() == ArenaClass::Gradients) != isGradient ||
        reduction.dtype() != (isGradient ? executable::DType::F32 : executable::DType::F64) ||
        reduction.mean() == isGradient) {
      return proof.fail(field, "sums of f32 gradients and means of f64 losses are reduced, and nothing else");
    }
    if (isGradient && proof.shards() ? !proof.hasReplica(reduction.replica()) : reduction.replica() != -1) {
      return proof.fail(field + ".replica",
                        "with ZeRO every gradient sum belongs to a replica, and nothing else does");
    }
    auto range = inside(reduction.arena(), reduction.offset(), reduction.bytes(), isGradient ? 4 : 8, field);
    if (!range) {
      return range.takeError();
    }
    reduced.push_back({reduction.stage(), reduction.arena(), *range, reduction.replica()});
  }
  return disjoint(reduced, at + "reductions");
}

Result<void> RankReplicas::collectGathers() {
  for (unsigned i = 0; plan.gathers() && i < plan.gathers()->size(); ++i) {
    const executable::ReplicaGather &gather = *plan.gathers()->Get(i);
    const std::string field = indexed(at + "gathers", i);
    const bool isWeight = gather.stage() >= 0;
    if (gather.stage() != -1 && !proof.owns(rank, gather.stage())) {
      return proof.fail(field + ".stage", "the rank does not hold the stage");
    }
    if (gather.arena() >= plan.arenas()->size() || !proof.hasReplica(gather.replica())) {
      return proof.fail(field + ".arena", "there is no such arena, or no such replica");
    }
    const ArenaClass wanted = isWeight ? ArenaClass::Parameters : ArenaClass::Scalars;
    if (plan.arenas()->Get(gather.arena())->arena_class() != wanted) {
      return proof.fail(field + ".arena",
                        "weights and partial sums of the norm are gathered, and nothing else");
    }
    auto range = inside(gather.arena(), gather.offset(), gather.bytes(), isWeight ? 4 : 8, field);
    if (!range) {
      return range.takeError();
    }
    gathered.push_back({gather.stage(), gather.arena(), *range, gather.replica()});
  }
  return disjoint(gathered, at + "gathers");
}

/// Whether the range is exchanged, by neighbours without a gap, for its replica (or, `ofAny`, for any).
bool RankReplicas::covers(const std::vector<Exchanged> &list, const Exchanged &wanted, bool ofAny) const {
  std::uint64_t at = wanted.range.begin;
  for (bool found = true; at < wanted.range.end && found;) {
    found = false;
    for (const Exchanged &entry : list) {
      if (entry.stage == wanted.stage && entry.arena == wanted.arena &&
          (ofAny || entry.replica == wanted.replica) && entry.range.begin <= at && at < entry.range.end) {
        at = entry.range.end;
        found = true;
        break;
      }
    }
  }
  return at >= wanted.range.end;
}

/// Whether a replica has all of a gradient sum: of its own stage, or received.
bool RankReplicas::sumIsOfReplica(const Exchanged &sum) const {
  return covers(reduced, sum) || std::any_of(plan.transfers()->begin(), plan.transfers()->end(),
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
            !covers(reduced,
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
        !covers(reduced,
                {transfer->stage(), static_cast<unsigned>(transfer->arena()), range, transfer->replica()})) {
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
  const auto count =
      std::count_if(reduced.begin(), reduced.end(), [](const Exchanged &entry) { return entry.stage == -1; });
  if (!loss || count != 1 ||
      !covers(reduced, {-1, loss->arena(), {loss->offset(), loss->offset() + 8ULL * loss->count()}, -1})) {
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
      if (command.replica() != -1 && !(divides && proof.hasReplica(command.replica()))) {
        return proof.fail(field + ".replica", "a replica alone computes parts of the norm and of the update "
                                              "with ZeRO, and nothing else");
      }
      if (auto ok = divides ? ofReplica(program, command, field) : Result<void>(); !ok) {
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
    const bool isPartial = command.replica() != -1 && arena == ArenaClass::Scalars;
    const bool holds = arena == ArenaClass::Gradients              ? sumIsOfReplica(bytes)
                       : writes && arena == ArenaClass::Parameters ? covers(gathered, bytes)
                       : writes && isPartial ? covers(gathered, {-1, bytes.arena, range, command.replica()})
                                             : true;
    if (!holds) {
      return proof.fail(indexed(field + ".operands", i),
                        "the replicas would part: one of them alone has these gradients, or would not share "
                        "what it makes");
    }
  }
  return {};
}

} // namespace

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
