// Exchanges inside programs: between replicas, and with memory that is not the device's.
#include "runtime/executable/RankReplicas.h"

#include <map>

namespace stagewright::runtime {

using executable::ArenaClass;
using executable::ExchangeKind;
using executable::ProgramKind;

bool RangesInUse::overlaps(const UsedRange &range) const {
  const auto inSet = [&](const std::map<Key, std::uint64_t> &set) {
    auto at = set.lower_bound({range.arena, range.bytes.end}); // the first one behind
    return at != set.begin() && (--at)->first.first == range.arena && at->second > range.bytes.begin;
  };
  for (const auto &[replica, set] : sets) {
    if ((replica == -1 || range.replica == -1 || replica == range.replica) && inSet(set)) {
      return true;
    }
  }
  return false;
}

bool RangesInUse::add(const UsedRange &range) {
  if (overlaps(range)) {
    return false;
  }
  sets[range.replica][{range.arena, range.bytes.begin}] = range.bytes.end;
  return true;
}

void RangesInUse::remove(const UsedRange &range) {
  sets[range.replica].erase({range.arena, range.bytes.begin});
}

/// Empty when it adds up nothing.
Range RankReplicas::scratchOf(const executable::Exchange &exchange) const {
  const ExchangeScratch scratch =
      runtime::scratchOf(exchange, proof.file.recipe()->data_parallel(), proof.wire());
  return {exchange.scratch(), exchange.scratch() + scratch.contributed + scratch.sent};
}

Result<void> RankReplicas::collectExchanges() {
  for (unsigned i = 0; plan.exchanges() && i < plan.exchanges()->size(); ++i) {
    if (auto ok = exchange(*plan.exchanges()->Get(i), indexed(at + "exchanges", i)); !ok) {
      return ok;
    }
  }
  if (auto ok = disjoint(reduced.all(), at + "exchanges"); !ok) {
    return ok;
  }
  if (auto ok = disjoint(accumulated, at + "exchanges", true); !ok) { // shards lie at the same places
    return ok;
  }
  if (auto ok = disjoint(residuals, at + "exchanges"); !ok) {
    return ok;
  }
  for (const Exchanged &sum : accumulated) {
    reduced.add(sum);
  }
  if (auto ok = disjoint(loaded.all(), at + "exchanges", true); !ok) {
    return ok;
  }
  return inFiles();
}

/// Null: there is no such arena.
const executable::Arena *RankReplicas::arenaAt(int index) const {
  return index >= 0 && index < static_cast<int>(plan.arenas()->size())
             ? plan.arenas()->Get(static_cast<unsigned>(index))
             : nullptr;
}

bool RankReplicas::isArenaOf(ArenaClass wanted, int index) const {
  const executable::Arena *arena = arenaAt(index);
  return arena && arena->arena_class() == wanted;
}

Result<void> RankReplicas::pieces(const executable::Exchange &exchange, const std::string &field) {
  std::uint64_t total = 0; // so that no sum of what follows overflows
  for (unsigned i = 0; i < exchange.pieces()->size(); ++i) {
    const executable::ExchangePiece &piece = *exchange.pieces()->Get(i);
    const std::string pieceField = indexed(field + ".pieces", i);
    const auto check = exchange.kind() == ExchangeKind::Gather ? gatherPiece(piece, pieceField)
                       : exchange.kind() == ExchangeKind::Accumulate
                           ? accumulatePiece(exchange, piece, pieceField)
                       : movesOffloaded(exchange.kind())
                           ? movedPiece(piece, pieceField, exchange.kind() == ExchangeKind::Load)
                           : sumPiece(exchange, piece, pieceField);
    if (!check) {
      return check;
    }
    total += piece.bytes();
  }
  return total <= kMaxTensorBytes ? Result<void>()
                                  : proof.fail(field, "it moves more than an arena can hold");
}

Result<void> RankReplicas::exchange(const executable::Exchange &exchange, const std::string &field) {
  if (exchange.kind() > ExchangeKind::MAX || !proof.owns(rank, exchange.stage())) {
    return proof.fail(field + ".stage", "the rank does not hold the stage, or the exchange is of no kind");
  }
  if (proof.file.recipe()->servers() > 0) {
    return proof.fail(field, "replicas exchange nothing inside of programs when servers add up and update");
  }
  const bool adds = addsUp(exchange.kind());
  if (adds && proof.file.recipe()->data_parallel() == 1) {
    return proof.fail(field, "there is one replica, and nothing to exchange");
  }
  if (auto ok = pieces(exchange, field); !ok || !adds) {
    return ok;
  }
  const int arena = communicationArena(plan);
  if (arena >= 0 && exchange.scratch() % catalogue::kAlignment == 0) {
    const std::uint64_t bytes = plan.arenas()->Get(static_cast<unsigned>(arena))->bytes();
    if (exchange.scratch() <= bytes && scratchOf(exchange).end <= bytes) {
      return {};
    }
  }
  return proof.fail(field + ".scratch", "it does not lie inside the communication arena");
}

/// Offloaded bytes of a replica, and a window.
Result<void> RankReplicas::movedPiece(const executable::ExchangePiece &piece, const std::string &field,
                                      bool loads) {
  const executable::Arena *home = arenaAt(piece.shard_arena());
  if (!isArenaOf(ArenaClass::Windows, piece.arena()) || !home ||
      home->tier() == executable::MemoryTier::Device || !proof.hasUpdater(piece.replica())) {
    return proof.fail(field + ".arena", "what a replica has offloaded moves to and from windows");
  }
  auto here = inside(piece.arena(), piece.offset(), piece.bytes(), 4, field);
  auto there =
      inside(static_cast<unsigned>(piece.shard_arena()), piece.shard_offset(), piece.bytes(), 4, field);
  if (!here || !there) {
    return here ? there.takeError() : here.takeError();
  }
  const Exchanged bytes{-1, static_cast<unsigned>(piece.shard_arena()), *there, piece.replica()};
  if (loads) {
    loaded.add(bytes);
  }
  return isOwn(bytes, &executable::Placement::shards) || isOwn(bytes, &executable::Placement::states)
             ? Result<void>()
             : proof.fail(field + ".shard_offset", "the replica has neither weights nor states there");
}

/// Of gradients, where they are added up.
Result<void> RankReplicas::sumPiece(const executable::Exchange &exchange,
                                    const executable::ExchangePiece &piece, const std::string &field) {
  if (!proof.hasUpdater(piece.replica()) || !isArenaOf(ArenaClass::Gradients, piece.arena()) ||
      (piece.shard_arena() != -1 && !proof.wire().compresses()) || proof.reducesMicroBatches()) {
    return proof.fail(field + ".replica",
                      "a piece is of the gradients of a replica, where they are added up");
  }
  auto range = inside(piece.arena(), piece.offset(), piece.bytes(), 4, field);
  if (!range) {
    return range.takeError();
  }
  if (auto ok = proof.wire().compresses() ? residual(piece, field) : Result<void>(); !ok) {
    return ok;
  }
  const Exchanged last{exchange.stage(), piece.arena(), *range, piece.replica()};
  reduced.add(last);
  return proof.shards() || gathered.covers(last)
             ? Result<void>()
             : proof.fail(field + ".replica",
                          "REDUCE does not share the sum, so that the replicas would part");
}

/// Whole granules of one gradient sum's residual, so that what is compressed together is the same however
/// sums are cut.
Result<void> RankReplicas::residual(const executable::ExchangePiece &piece, const std::string &field) {
  constexpr std::uint64_t granule = 4 * catalogue::kGranule;
  for (const executable::Placement *placement : *plan.placements()) {
    for (unsigned i = 0; placement->states() && i < placement->states()->size(); ++i) {
      const executable::StateSlice &state = *placement->states()->Get(i);
      const std::uint64_t size = *bytesOf(state.dtype(), state.shape());
      if (!isResidual(state) || static_cast<int>(state.arena()) != piece.shard_arena() ||
          piece.shard_offset() < state.offset()) {
        continue;
      }
      const std::uint64_t begin = piece.shard_offset() - state.offset();
      const auto range = rangeWithin(begin, piece.bytes(), size);
      if (range && range->begin % granule == 0 && (range->end % granule == 0 || range->end == size)) {
        residuals.push_back({-1,
                             state.arena(),
                             {piece.shard_offset(), piece.shard_offset() + piece.bytes()},
                             piece.replica()});
        return {};
      }
    }
  }
  return proof.fail(field + ".shard_offset",
                    "compressed gradients are whole granules of a parameter's, each of "
                    "which has a place for its residual");
}

/// Of one micro-batch's gradients, from memory of W to a replica's sum.
Result<void> RankReplicas::accumulatePiece(const executable::Exchange &exchange,
                                           const executable::ExchangePiece &piece, const std::string &field) {
  if (!proof.reducesMicroBatches() || !proof.hasUpdater(piece.replica()) ||
      !isArenaOf(ArenaClass::Workspace, piece.arena()) ||
      !isArenaOf(ArenaClass::Gradients, piece.shard_arena())) {
    return proof.fail(field + ".replica",
                      "a micro-batch's gradients go from memory of W to a replica's sums");
  }
  auto window = inside(piece.arena(), piece.offset(), piece.bytes(), 4, field);
  auto sum =
      inside(static_cast<unsigned>(piece.shard_arena()), piece.shard_offset(), piece.bytes(), 4, field);
  if (!window || !sum) {
    return window ? sum.takeError() : window.takeError();
  }
  const Exchanged last{exchange.stage(), static_cast<unsigned>(piece.shard_arena()), *sum, piece.replica()};
  accumulated.push_back(last);
  return proof.shards() || gathered.covers(last)
             ? Result<void>()
             : proof.fail(field + ".replica",
                          "REDUCE does not share the sum, so that the replicas would part");
}

/// From what a replica has of a weight to memory of a program, or of what PREPARE derives.
Result<void> RankReplicas::gatherPiece(const executable::ExchangePiece &piece,
                                       const std::string &field) const {
  const auto inArena = [&](int index, std::uint64_t offset) {
    const executable::Arena *arena = arenaAt(index);
    return arena && offset % 4 == 0 && piece.bytes() > 0 && piece.bytes() % 4 == 0 &&
           rangeWithin(offset, piece.bytes(), arena->bytes());
  };
  if (!proof.shardsWeights() || !proof.hasUpdater(piece.replica())) {
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
  if ((window != ArenaClass::Workspace && window != ArenaClass::Derived) ||
      !isOwn(shard, &executable::Placement::shards)) {
    return proof.fail(field + ".arena", "a part of a weight is gathered into memory of programs");
  }
  return {};
}

/// What lies in a file is loaded by an update, whose chunks have the checksums.
Result<void> RankReplicas::inFiles() const {
  const auto check = [&](const executable::StateSlice &piece, const std::string &field) -> Result<void> {
    const bool isInFile = plan.arenas()->Get(piece.arena())->tier() == executable::MemoryTier::File;
    const Range range{piece.offset(), piece.offset() + *bytesOf(piece.dtype(), piece.shape())};
    return !isInFile || loaded.covers({-1, piece.arena(), range, piece.replica()})
               ? Result<void>()
               : proof.fail(field, "it lies in a file, but no update loads all of it");
  };
  for (unsigned i = 0; i < plan.placements()->size(); ++i) {
    const executable::Placement &placement = *plan.placements()->Get(i);
    const std::string field = indexed(at + "placements", i);
    for (const auto &[list, name] :
         {std::pair(placement.states(), ".states"), {placement.shards(), ".shards"}}) {
      for (unsigned j = 0; list && j < list->size(); ++j) {
        if (auto ok = check(*list->Get(j), indexed(field + name, j)); !ok) {
          return ok;
        }
      }
    }
  }
  return {};
}

/// Every exchange begins once, and while it is under way neither a command nor another one uses its bytes.
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

/// What an exchange uses while it is under way.
std::vector<UsedRange> RankReplicas::rangesOf(const executable::Exchange &exchange) const {
  std::vector<UsedRange> ranges;
  for (const executable::ExchangePiece *piece : *exchange.pieces()) {
    ranges.push_back({piece->arena(),
                      {piece->offset(), piece->offset() + piece->bytes()},
                      movesOffloaded(exchange.kind()) ? piece->replica() : -1});
    if (exchange.kind() != ExchangeKind::Gather && piece->shard_arena() >= 0) {
      ranges.push_back({static_cast<unsigned>(piece->shard_arena()),
                        {piece->shard_offset(), piece->shard_offset() + piece->bytes()},
                        exchange.kind() == ExchangeKind::Reduce ? -1 : piece->replica()});
    }
  }
  if (const Range scratch = scratchOf(exchange); scratch.end > scratch.begin) {
    ranges.push_back({static_cast<unsigned>(communicationArena(plan)), scratch, -1});
  }
  return ranges;
}

/// Whether a command reads or writes what an exchange uses.
bool RankReplicas::touches(const executable::Command &command, const RangesInUse &inUse) const {
  for (const executable::Operand *operand : *command.operands()) {
    std::uint64_t begin = operand->offset(), bytes = *bytesOf(operand->dtype(), operand->shape());
    if (operand->pool() >= 0) { // any slot
      const executable::SlotPool &pool = *plan.pools()->Get(static_cast<unsigned>(operand->pool()));
      begin = pool.offset();
      bytes = pool.slots() * pool.slot_bytes();
    }
    if (inUse.overlaps({operand->arena(), {begin, begin + bytes}, command.replica()})) {
      return true;
    }
  }
  const std::uint64_t begin = command.workspace_offset();
  return command.workspace() > 0 && inUse.overlaps({static_cast<unsigned>(workspaceArena(plan)),
                                                    {begin, begin + command.workspace()},
                                                    command.replica()});
}

Result<void> RankReplicas::pointsOf(const executable::Program &program, const std::string &field,
                                    std::vector<int> &begun) {
  RangesInUse inUse;
  std::set<unsigned> underWay;
  unsigned next = 0;
  const unsigned points = program.points() ? program.points()->size() : 0,
                 commands = program.commands()->size();
  for (unsigned command = 0; command <= commands; ++command) {
    for (; next < points && program.points()->Get(next)->command() == command; ++next) {
      if (auto ok = point(program, indexed(field + ".points", next), *program.points()->Get(next), begun,
                          underWay, inUse);
          !ok) {
        return ok;
      }
    }
    if (command < commands && !underWay.empty() && touches(*program.commands()->Get(command), inUse)) {
      return proof.fail(indexed(field + ".commands", command), "it touches the place of what is on its way");
    }
  }
  if (next < points) {
    return proof.fail(indexed(field + ".points", next),
                      "the points are not in order, or there is no such command");
  }
  for (const unsigned exchange : underWay) {
    if (plan.exchanges()->Get(exchange)->kind() != ExchangeKind::Reduce) {
      return proof.fail(field + ".points",
                        "the program ends while an exchange is under way that only REDUCE could end");
    }
  }
  return {};
}

Result<void> RankReplicas::point(const executable::Program &program, const std::string &field,
                                 const executable::ExchangePoint &point, std::vector<int> &begun,
                                 std::set<unsigned> &underWay, RangesInUse &inUse) {
  if (point.exchange() >= begun.size()) {
    return proof.fail(field, "there is no such exchange");
  }
  const executable::Exchange &exchange = *plan.exchanges()->Get(point.exchange());
  if (!point.begins()) {
    if (underWay.erase(point.exchange()) == 0) {
      return proof.fail(field, "it waits for an exchange that is not under way");
    }
    for (const UsedRange &range : rangesOf(exchange)) {
      inUse.remove(range);
    }
    return {};
  }
  const ProgramKind where =
      movesOffloaded(exchange.kind()) ? ProgramKind::Update : ProgramKind::BackwardWeight;
  if (exchange.stage() != program.stage() || ++begun[point.exchange()] > 1 ||
      (exchange.kind() == ExchangeKind::Gather ? program.kind() == ProgramKind::Update
                                               : program.kind() != where)) {
    return proof.fail(field,
                      "an exchange begins once, in a program of its stage: of gradients in its W, of what is "
                      "offloaded in its UPDATE");
  }
  for (const UsedRange &range : rangesOf(exchange)) {
    if (!inUse.add(range)) {
      return proof.fail(field, "exchanges that are under way share memory");
    }
  }
  underWay.insert(point.exchange());
  return {};
}

/// Whether a replica alone has all of it: of a weight (shards), or of an optimizer's state.
bool RankReplicas::isOwn(const Exchanged &bytes, SlicesOf slices) const {
  for (const executable::Placement *placement : *plan.placements()) {
    const auto *list = (placement->*slices)();
    for (unsigned i = 0; list && i < list->size(); ++i) {
      const executable::StateSlice &piece = *list->Get(i);
      if (piece.replica() == bytes.replica && piece.arena() == bytes.arena &&
          piece.offset() <= bytes.range.begin &&
          bytes.range.end <= piece.offset() + *bytesOf(piece.dtype(), piece.shape())) {
        return true;
      }
    }
  }
  return false;
}

} // namespace stagewright::runtime
