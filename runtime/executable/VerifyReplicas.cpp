// What the replicas of a rank exchange, and which of them makes which part of an update (ZeRO): all of them
// must end a step with the same weights.
#include "runtime/executable/Proof.h"

#include <algorithm>
#include <map>

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
    const unsigned exchanges = plan.exchanges() ? plan.exchanges()->size() : 0;
    if (proof.file.recipe()->data_parallel() == 1 && reductions + gathers + exchanges > 0) {
      return proof.fail(at + (reductions ? "reductions"
                              : gathers  ? "gathers"
                                         : "exchanges"),
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

private:
  Result<void> collectReductions();
  Result<void> collectGathers();
  Result<void> collectExchanges();
  Result<void> exchange(const executable::Exchange &exchange, const std::string &field);
  Result<void> points();
  Result<void> pointsOf(const executable::Program &program, const std::string &field,
                        std::vector<int> &begun);
  bool touches(const executable::Program &program, unsigned from, unsigned to,
               const executable::Exchange &exchange) const;
  bool collide(const executable::Exchange &a, const executable::Exchange &b) const;
  Range scratchOf(const executable::Exchange &exchange) const;
  Result<void> sums();
  Result<void> loss();
  Result<void> commands();
  Result<void> ofReplica(const executable::Program &program, const executable::Command &command,
                         const std::string &field);
  Result<Range> inside(unsigned arena, std::uint64_t offset, std::uint64_t bytes, std::uint64_t unit,
                       const std::string &field) const;
  Result<void> disjoint(std::vector<Exchanged> list, const std::string &field) const;
  bool sumIsOfReplica(const Exchanged &sum) const;
  bool isOwnWeight(const Exchanged &bytes) const;
  Result<void> gatherPiece(const executable::ExchangePiece &piece, const std::string &field) const;
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
    if (!proof.owns(rank, gather.stage())) {
      return proof.fail(field + ".stage", "the rank does not hold the stage");
    }
    if (gather.arena() >= plan.arenas()->size() || !proof.hasReplica(gather.replica())) {
      return proof.fail(field + ".arena", "there is no such arena, or no such replica");
    }
    const ArenaClass arena = plan.arenas()->Get(gather.arena())->arena_class();
    const bool isKnown =
        gather.task() == TaskKind::Reduce ? !proof.shards() && arena == ArenaClass::Gradients
        : gather.task() == TaskKind::Gather
            ? proof.shards() && !proof.shardsWeights() && arena == ArenaClass::Parameters
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
    gathered.push_back({gather.stage(), gather.arena(), *range, gather.replica()});
  }
  return disjoint(gathered, at + "gathers");
}

/// What the others contribute to the pieces of the replica that has most.
Range RankReplicas::scratchOf(const executable::Exchange &exchange) const {
  const auto replicas = static_cast<std::uint64_t>(proof.file.recipe()->data_parallel());
  std::map<int, std::uint64_t> bytes;
  std::uint64_t most = 0;
  for (const executable::ExchangePiece *piece : *exchange.pieces()) {
    std::uint64_t &held = bytes[piece->replica()];
    held += (piece->bytes() + catalogue::kAlignment - 1) / catalogue::kAlignment * catalogue::kAlignment;
    most = std::max(most, held);
  }
  return {exchange.scratch(), exchange.scratch() + (replicas - 1) * most};
}

Result<void> RankReplicas::collectExchanges() {
  for (unsigned i = 0; plan.exchanges() && i < plan.exchanges()->size(); ++i) {
    if (auto ok = exchange(*plan.exchanges()->Get(i), indexed(at + "exchanges", i)); !ok) {
      return ok;
    }
  }
  return disjoint(reduced, at + "exchanges");
}

Result<void> RankReplicas::exchange(const executable::Exchange &exchange, const std::string &field) {
  if (exchange.kind() > executable::ExchangeKind::MAX || !proof.owns(rank, exchange.stage())) {
    return proof.fail(field + ".stage", "the rank does not hold the stage, or the exchange is of no kind");
  }
  std::uint64_t total = 0; // so that no sum of what follows overflows
  for (unsigned i = 0; i < exchange.pieces()->size(); ++i) {
    const executable::ExchangePiece &piece = *exchange.pieces()->Get(i);
    const std::string pieceField = indexed(field + ".pieces", i);
    if (exchange.kind() == executable::ExchangeKind::Gather) {
      if (auto ok = gatherPiece(piece, pieceField); !ok) {
        return ok;
      }
      continue;
    }
    if (!proof.hasReplica(piece.replica()) || piece.arena() >= plan.arenas()->size() ||
        plan.arenas()->Get(piece.arena())->arena_class() != ArenaClass::Gradients ||
        piece.shard_arena() != -1) {
      return proof.fail(pieceField + ".replica",
                        "a piece is of the gradients of a replica, where they are added up");
    }
    auto range = inside(piece.arena(), piece.offset(), piece.bytes(), 4, pieceField);
    if (!range) {
      return range.takeError();
    }
    total += piece.bytes();
    reduced.push_back({exchange.stage(), piece.arena(), *range, piece.replica()});
    const Exchanged &last = reduced.back();
    if (!proof.shards() && !covers(gathered, last)) {
      return proof.fail(pieceField + ".replica",
                        "REDUCE does not share the sum, so that the replicas would part");
    }
  }
  if (exchange.kind() == executable::ExchangeKind::Gather) {
    return {};
  }
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    const executable::Arena &arena = *plan.arenas()->Get(i);
    if (arena.arena_class() == ArenaClass::Communication && total <= kMaxTensorBytes &&
        exchange.scratch() % catalogue::kAlignment == 0 && exchange.scratch() <= arena.bytes() &&
        scratchOf(exchange).end <= arena.bytes()) {
      return {};
    }
  }
  return proof.fail(field + ".scratch", "it does not lie inside the communication arena");
}

/// From what a replica has of a weight to memory of a program, or of what PREPARE derives.
Result<void> RankReplicas::gatherPiece(const executable::ExchangePiece &piece,
                                       const std::string &field) const {
  const auto inArena = [&](int arena, std::uint64_t offset) {
    return arena >= 0 && arena < static_cast<int>(plan.arenas()->size()) && offset % 4 == 0 &&
           piece.bytes() > 0 && piece.bytes() % 4 == 0 &&
           rangeWithin(offset, piece.bytes(), plan.arenas()->Get(static_cast<unsigned>(arena))->bytes());
  };
  if (!proof.shardsWeights() || !proof.hasReplica(piece.replica())) {
    return proof.fail(field + ".replica", "weights are gathered from replicas with ZeRO 3");
  }
  if (!inArena(piece.arena(), piece.offset()) || !inArena(piece.shard_arena(), piece.shard_offset())) {
    return proof.fail(field + ".bytes", "these are not whole elements inside the arenas");
  }
  const ArenaClass window = plan.arenas()->Get(piece.arena())->arena_class();
  const Exchanged shard{-1,
                        static_cast<unsigned>(piece.shard_arena()),
                        {piece.shard_offset(), piece.shard_offset() + piece.bytes()},
                        piece.replica()};
  if ((window != ArenaClass::Workspace && window != ArenaClass::Derived) || !isOwnWeight(shard)) {
    return proof.fail(field + ".arena", "a part of a weight is gathered into memory of programs");
  }
  return {};
}

/// Whether a command in [from, to) reads or writes what is exchanged.
bool RankReplicas::touches(const executable::Program &program, unsigned from, unsigned to,
                           const executable::Exchange &exchange) const {
  for (unsigned i = from; i < to; ++i) {
    for (const executable::Operand *operand : *program.commands()->Get(i)->operands()) {
      const Range bytes{operand->offset(), operand->offset() + *bytesOf(operand->dtype(), operand->shape())};
      for (const executable::ExchangePiece *piece : *exchange.pieces()) {
        if (operand->pool() < 0 && operand->arena() == piece->arena() &&
            bytes.overlaps({piece->offset(), piece->offset() + piece->bytes()})) {
          return true;
        }
      }
    }
  }
  return false;
}

/// Every exchange begins once, and what it exchanges is complete by then; two that are under way at once use
/// no bytes of each other.
Result<void> RankReplicas::points() {
  std::vector<int> begun(plan.exchanges() ? plan.exchanges()->size() : 0, 0);
  for (unsigned i = 0; i < plan.programs()->size(); ++i) {
    if (auto ok = pointsOf(*plan.programs()->Get(i), indexed(at + "programs", i), begun); !ok) {
      return ok;
    }
  }
  for (unsigned i = 0; i < begun.size(); ++i) {
    if (begun[i] != 1) {
      return proof.fail(indexed(at + "exchanges", i), "it begins in no program, or twice");
    }
  }
  return {};
}

Result<void> RankReplicas::pointsOf(const executable::Program &program, const std::string &field,
                                    std::vector<int> &begun) {
  using executable::ExchangeKind;
  std::map<unsigned, unsigned> underWay; // exchange -> command at which it began
  unsigned before = 0;
  for (unsigned i = 0; program.points() && i < program.points()->size(); ++i) {
    const executable::ExchangePoint &point = *program.points()->Get(i);
    const std::string pointField = indexed(field + ".points", i);
    if (point.command() < before || point.command() > program.commands()->size() ||
        point.exchange() >= begun.size()) {
      return proof.fail(pointField, "the points are not in order, or there is no such command or exchange");
    }
    before = point.command();
    const executable::Exchange &exchange = *plan.exchanges()->Get(point.exchange());
    const bool gathers = exchange.kind() == ExchangeKind::Gather;
    if (!point.begins()) {
      const auto found = underWay.find(point.exchange());
      if (found == underWay.end()) {
        return proof.fail(pointField, "it waits for an exchange that is not under way");
      }
      if (gathers && touches(program, found->second, point.command(), exchange)) {
        return proof.fail(pointField, "a command touches the place of a weight that is on its way");
      }
      underWay.erase(found);
      continue;
    }
    if (exchange.stage() != program.stage() || ++begun[point.exchange()] > 1 ||
        (!gathers && program.kind() != ProgramKind::BackwardWeight)) {
      return proof.fail(pointField,
                        "an exchange begins once, in a program of its stage, of gradients in its W");
    }
    if (!gathers && touches(program, point.command(), program.commands()->size(), exchange)) {
      return proof.fail(pointField, "a later command touches the gradients that are exchanged");
    }
    for (const auto &[other, at] : underWay) {
      if (collide(*plan.exchanges()->Get(other), exchange)) {
        return proof.fail(pointField, "two exchanges that are under way share memory");
      }
    }
    underWay[point.exchange()] = point.command();
  }
  for (const auto &[exchange, at] : underWay) {
    if (plan.exchanges()->Get(exchange)->kind() == ExchangeKind::Gather) {
      return proof.fail(field + ".points", "the program ends while a weight is on its way");
    }
  }
  return {};
}

/// Two that are under way at once: scratch of sums, places of weights.
bool RankReplicas::collide(const executable::Exchange &a, const executable::Exchange &b) const {
  if (a.kind() == executable::ExchangeKind::Reduce && b.kind() == a.kind()) {
    return scratchOf(a).overlaps(scratchOf(b));
  }
  for (const executable::ExchangePiece *p : *a.pieces()) {
    for (const executable::ExchangePiece *q : *b.pieces()) {
      if (p->arena() == q->arena() &&
          Range{p->offset(), p->offset() + p->bytes()}.overlaps({q->offset(), q->offset() + q->bytes()})) {
        return true;
      }
    }
  }
  return false;
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

/// Whether a replica updates what it alone has of a weight.
bool RankReplicas::isOwnWeight(const Exchanged &bytes) const {
  for (const executable::Placement *placement : *plan.placements()) {
    for (unsigned i = 0; placement->shards() && i < placement->shards()->size(); ++i) {
      const executable::StateSlice &piece = *placement->shards()->Get(i);
      if (piece.replica() == bytes.replica && piece.arena() == bytes.arena &&
          piece.offset() <= bytes.range.begin &&
          bytes.range.end <= piece.offset() + *bytesOf(piece.dtype(), piece.shape())) {
        return true;
      }
    }
  }
  return false;
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
    const bool holds = arena == ArenaClass::Gradients ? sumIsOfReplica(bytes)
                       : writes && arena == ArenaClass::Parameters
                           ? (proof.shardsWeights() ? isOwnWeight(bytes) : covers(gathered, bytes))
                       : writes && isPartial ? covers(gathered, bytes)
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
