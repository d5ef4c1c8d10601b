// Behind memory: every value has a place inside its arena or slot, and slots are not overwritten while live.
#include "passes/PhaseChecks.h"
#include "passes/memory/FunctionBuffers.h"
#include "passes/parallel/Shards.h"

#include "llvm/ADT/MapVector.h"

#include <map>

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYMEMORY
#include "generated-passes/Passes.h.inc"

namespace {

using plan::Role;

bool isPooled(Role role) {
  switch (role) {
  case Role::Parameter:
  case Role::Accumulator:
  case Role::Residual:
  case Role::State:
  case Role::Derived:
  case Role::Buffer:
    return false;
  default:
    return true;
  }
}

class RankCheck {
public:
  RankCheck(ModuleOp module, command::RankOp rank) : module(module), rank(rank), shards(module) {
    Block &body = rank.getBody().front();
    llvm::append_range(arenas, body.getOps<command::ArenaOp>());
    llvm::append_range(pools, body.getOps<command::PoolOp>());
    for (command::ScalarOp cell : body.getOps<command::ScalarOp>()) {
      cells[cell.getName()] = cell.getSlice().getType();
    }
  }

  LogicalResult run() {
    if (failed(placements()) || failed(sharedCells())) {
      return failure();
    }
    for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
      if (stage.getRank() != rank.getIndex()) {
        continue;
      }
      if (failed(separate(stage))) {
        return failure();
      }
      for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
        if (failed(values(stage.getIndex(), function)) || failed(materialized(function)) ||
            failed(locals(stage.getIndex(), function))) {
          return failure();
        }
      }
    }
    return success();
  }

private:
  using Key = std::pair<int64_t, Attribute>;

  bool isInside(int64_t arena, int64_t offset, int64_t bytes) {
    return arena >= 0 && arena < static_cast<int64_t>(arenas.size()) && offset >= 0 &&
           offset <= arenas[arena].getBytes() && bytes <= arenas[arena].getBytes() - offset;
  }

  LogicalResult placements() {
    llvm::DenseMap<std::pair<int64_t, int64_t>, int64_t> transferPools; // by stage and role
    for (plan::PlacementOp place : rank.getBody().getOps<plan::PlacementOp>()) {
      Role role = place.getValue().getRole();
      int64_t pool = place.getPool();
      bool inPool = pool >= 0 && pool < static_cast<int64_t>(pools.size()) &&
                    pools[pool].getStage() == place.getStage() && pools[pool].getArena() == place.getArena();
      if (isPooled(role) ? !inPool : pool != -1 || !isInside(place.getArena(), 0, 0)) {
        return place.emitError("puts ") << place.getValue() << " into pool " << pool << " of arena "
                                        << place.getArena() << ", where it cannot lie";
      }
      auto &places = place.getOffloaded() ? offloaded : placed;
      if (!places.try_emplace({place.getStage(), place.getValue()}, place).second) {
        return place.emitError("is the second place of ") << place.getValue();
      }
      bool moves = role == Role::Receive || role == Role::Send || role == Role::ReceiveGradient ||
                   role == Role::SendGradient;
      auto [known, isFirst] = transferPools.try_emplace({place.getStage(), static_cast<int64_t>(role)}, pool);
      if (moves && !isFirst && known->second != pool) {
        return place.emitError("puts ") << place.getValue() << " apart from what moves with it";
      }
    }
    return success();
  }

  LogicalResult sharedCells() {
    for (plan::SharedOp shared : module.getOps<plan::SharedOp>()) {
      if (cells.lookup(shared.getName()) != shared.getType()) {
        return rank.emitError("has no cell of type ")
               << shared.getType() << " for the shared value \"" << shared.getName() << "\"";
      }
    }
    return success();
  }

  LogicalResult values(int64_t stage, plan::FunctionOp function) {
    LogicalResult holds = success();
    forEachValue(function, [&](plan::ValueAttr name, Value value) {
      if (name.getRole() == Role::Output) {
        return; // a local of its function
      }
      auto type = cast<RankedTensorType>(value.getType());
      bool isCell = name.getRole() == Role::Scalar || name.getRole() == Role::Shared;
      plan::PlacementOp place = isCell ? plan::PlacementOp() : placed.lookup({stage, name});
      bool found = isCell ? cells.lookup(name.getName()) == type : bool(place);
      if (succeeded(holds) && !found) {
        holds = function.emitError("uses ") << name << ", which has no place in memory";
      }
      if (failed(holds) || isCell) {
        return;
      }
      int64_t bytes = command::byteSize(type), offset = place.getOffset();
      bool fits = shards.isSharded(stage, name) ? piecesFit(stage, name)
                  : isPooled(name.getRole())
                      ? offset >= 0 && offset <= pools[place.getPool()].getSlotBytes() - bytes
                      : isInside(place.getArena(), offset, bytes);
      if (!fits) {
        holds = place.emitError("puts ") << name << " outside its arena or slot";
      }
    });
    for (plan::GatherOp gather : function.getBody().getOps<plan::GatherOp>()) {
      auto name = plan::ValueAttr::get(gather.getContext(), Role::Parameter, gather.getParameter());
      if (succeeded(holds) && (!shards.isSharded(stage, name) || !placed.lookup({stage, name}))) {
        holds = gather.emitOpError("gathers a parameter of which the stage has no shard");
      }
    }
    return holds;
  }

  /// Of a value in shards: each piece at the place that is its own.
  bool piecesFit(int64_t stage, plan::ValueAttr name) {
    return llvm::all_of(shards.pieces(stage, name), [&](const schedule::ShardPiece &piece) {
      plan::PlacementOp place =
          (shards.isOffloaded(stage, name, piece) ? offloaded : placed).lookup({stage, name});
      return place && isInside(place.getArena(), place.getOffset() + 4 * shards.offsetOf(stage, name, piece),
                               4 * piece.elements);
    });
  }

  /// Values of one slot lie beside each other, but for those that are computed in place of others.
  LogicalResult separate(plan::StageOp stage) {
    llvm::MapVector<plan::ValueAttr, int64_t> bytes;
    for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
      forEachValue(function, [&](plan::ValueAttr name, Value value) {
        bytes[name] = command::byteSize(cast<RankedTensorType>(value.getType()));
      });
    }
    FunctionBuffers::Overwritten overwritten = FunctionBuffers::overwrittenIn(stage);
    int64_t index = stage.getIndex();
    std::map<std::pair<int64_t, int64_t>, std::pair<int64_t, plan::ValueAttr>> ends; // by pool and begin
    for (auto &[name, size] : bytes) {
      plan::PlacementOp place = placed.lookup({index, name});
      if (!place || place.getPool() < 0) {
        continue;
      }
      if (auto over = overwritten.find(name); over != overwritten.end()) {
        plan::PlacementOp other = placed.lookup({index, over->second});
        if (other && place.getPool() == other.getPool() && place.getOffset() == other.getOffset()) {
          continue;
        }
      }
      std::pair begin(place.getPool(), place.getOffset());
      auto next = ends.lower_bound(begin);
      bool overNext =
          next != ends.end() && next->first.first == begin.first && next->first.second < begin.second + size;
      bool overLast = next != ends.begin() && std::prev(next)->first.first == begin.first &&
                      std::prev(next)->second.first > begin.second;
      if (overNext || overLast) {
        return place.emitError("puts ")
               << name << " over " << (overNext ? next : std::prev(next))->second.second;
      }
      ends[begin] = {begin.second + size, name};
    }
    return success();
  }

  /// The memory of a result carries one name.
  LogicalResult materialized(plan::FunctionOp function) {
    llvm::DenseMap<Value, plan::ValueAttr> names;
    LogicalResult holds = success();
    forEachValue(function, [&](plan::ValueAttr name, Value value) {
      auto [known, isNew] = names.try_emplace(layer::memoryRoot(value), name);
      if (succeeded(holds) && !isNew && known->second != name) {
        holds = function.emitError("returns ") << name << " in the memory of " << known->second;
      }
    });
    return holds;
  }

  LogicalResult locals(int64_t stage, plan::FunctionOp function) {
    auto entries =
        llvm::make_filter_range(rank.getBody().getOps<plan::LocalsOp>(), [&](plan::LocalsOp entry) {
          return entry.getStage() == stage && entry.getFunction() == function.getKind();
        });
    if (llvm::range_size(entries) != 1) {
      return function.emitError("needs one plan.locals, but has ") << llvm::range_size(entries);
    }
    plan::LocalsOp entry = *entries.begin();
    FunctionBuffers buffers(function);
    const std::vector<FunctionBuffers::Local> &local = buffers.locals();
    ArrayRef<int64_t> offsets = entry.getOffsets();
    if (offsets.size() != local.size()) {
      return entry.emitError("gives ")
             << offsets.size() << " offsets for " << local.size() << " local buffers";
    }
    bool holds = entry.getWorkspace() >= 0;
    for (size_t i = 0; i < local.size(); ++i) {
      holds = holds && isInside(entry.getArena(), offsets[i], local[i].bytes);
      for (size_t j = 0; j < i && holds; ++j) {
        bool together = local[j].begin <= local[i].end && local[i].begin <= local[j].end;
        holds = !together || offsets[i] >= offsets[j] + local[j].bytes ||
                offsets[j] >= offsets[i] + local[i].bytes;
      }
    }
    return holds ? success()
                 : LogicalResult(entry.emitError("has buffers outside their arena or over each other"));
  }

  ModuleOp module;
  command::RankOp rank;
  ShardTable shards;
  SmallVector<command::ArenaOp> arenas;
  SmallVector<command::PoolOp> pools;
  llvm::StringMap<Type> cells;
  llvm::DenseMap<Key, plan::PlacementOp> placed, offloaded;
};

struct VerifyMemoryPass : impl::VerifyMemoryBase<VerifyMemoryPass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Memory))) {
      signalPassFailure();
    }
  }
};

} // namespace

/// Ranks in order and slots that hold: what lower keeps.
static LogicalResult checkPools(ModuleOp module, const schedule::Schedule &training,
                                const schedule::Schedule &evaluation, command::ExecutableOp executable) {
  int64_t index = 0;
  for (Operation &op : executable.getBody().front()) {
    auto rank = dyn_cast<command::RankOp>(op);
    if (!rank || rank.getIndex() != index++) {
      return op.emitError("is out of place: an executable holds command.rank 0, 1, 2, ...");
    }
    for (command::PoolOp pool : rank.getBody().getOps<command::PoolOp>()) {
      schedule::Lifetime life{static_cast<int>(pool.getStage()),
                              static_cast<schedule::TaskKind>(pool.getFirst()),
                              static_cast<schedule::TaskKind>(pool.getLast()), pool.getSent()};
      auto slots = [&](ArrayRef<int64_t> list) {
        return schedule::SlotAssignment{static_cast<int>(pool.getSlots()), {list.begin(), list.end()}};
      };
      Result<void> train = schedule::verifySlots(training, life, slots(pool.getTrain()));
      Result<void> evaluate = schedule::verifySlots(evaluation, life, slots(pool.getEvaluate()));
      if (!train || !evaluate) {
        return pool.emitError((train ? evaluate : train).error().text());
      }
    }
  }
  if (index != training.rankCount()) {
    return executable.emitError("has ") << index << " ranks, but the schedule has " << training.rankCount();
  }
  return success();
}

LogicalResult executablesHold(ModuleOp module) {
  plan::ScheduleOp op = theOne<plan::ScheduleOp>(module);
  schedule::Schedule training = op.training(), evaluation = op.evaluation();
  auto executables = module.getOps<command::ExecutableOp>();
  ArrayAttr targets = theOne<plan::SettingsOp>(module).getTargets();
  if (llvm::range_size(executables) != targets.size()) {
    return module.emitError("needs one command.executable per target");
  }
  for (auto [executable, target] : llvm::zip(executables, targets)) {
    if (executable.getTargetAttr() != target) {
      return executable.emitError("is not for the target ") << target;
    }
    if (failed(checkPools(module, training, evaluation, executable))) {
      return failure();
    }
  }
  return success();
}

LogicalResult memoryHolds(ModuleOp module) {
  for (command::ExecutableOp executable : module.getOps<command::ExecutableOp>()) {
    for (command::RankOp rank : executable.getBody().getOps<command::RankOp>()) {
      if (failed(RankCheck(module, rank).run())) {
        return failure();
      }
    }
  }
  return success();
}

} // namespace stagewright
