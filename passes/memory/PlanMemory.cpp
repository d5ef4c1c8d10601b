#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/lower/ExchangeParts.h"
#include "passes/lower/OffloadedUpdate.h"
#include "passes/memory/FunctionBuffers.h"
#include "passes/memory/RankMemory.h"
#include "passes/parallel/Shards.h"
#include "passes/parallel/TiedParameters.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_PLANMEMORY
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;
using schedule::TaskKind;

/// A named value of a stage: which functions touch it decides how long it lives.
struct StageValue {
  RankedTensorType type;
  bool inBackwardInput = false, inBackwardWeight = false;
  bool madeByBackwardInput = false;
};

using StageValues = llvm::MapVector<plan::ValueAttr, StageValue>;

StageValues valuesOf(plan::StageOp stage) {
  StageValues values;
  for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
    auto note = [&](plan::ValueAttr name, Value value, bool result) {
      StageValue &entry = values[name];
      entry.type = cast<RankedTensorType>(value.getType());
      entry.inBackwardInput |= function.getKind() == FunctionKind::BackwardInput;
      entry.inBackwardWeight |= function.getKind() == FunctionKind::BackwardWeight;
      entry.madeByBackwardInput |= result && function.getKind() == FunctionKind::BackwardInput;
    };
    for (auto [name, value] : llvm::zip(function.getInputs().getAsRange<plan::ValueAttr>(),
                                        function.getBody().front().getArguments())) {
      note(name, value, false);
    }
    for (auto [name, value] : llvm::zip(function.getOutputs().getAsRange<plan::ValueAttr>(),
                                        function.getBody().front().getTerminator()->getOperands())) {
      note(name, value, true);
    }
    for (plan::GatherOp gather : function.getBody().getOps<plan::GatherOp>()) {
      auto name = plan::ValueAttr::get(stage.getContext(), Role::Parameter, gather.getParameter());
      values[name].type = cast<RankedTensorType>(gather.getType());
    }
  }
  return values;
}

/// From which task to which a value of a micro-batch lives.
schedule::Lifetime lifetimeOf(int stage, Role role, const StageValue &value) {
  schedule::Lifetime life{stage, TaskKind::Forward, TaskKind::Forward, false};
  switch (role) {
  case Role::Receive:
    life.first = TaskKind::ReceiveForward;
    break;
  case Role::Send:
    life.sent = true;
    break;
  case Role::ReceiveGradient:
    life.first = TaskKind::ReceiveBackward;
    life.last = TaskKind::BackwardInput;
    break;
  case Role::SendGradient:
    life.first = life.last = TaskKind::BackwardInput;
    life.sent = true;
    break;
  default:
    if (value.madeByBackwardInput) {
      life.first = life.last = TaskKind::BackwardInput;
    }
  }
  if (value.inBackwardInput) {
    life.last = TaskKind::BackwardInput;
  }
  if (value.inBackwardWeight) {
    life.last = TaskKind::BackwardWeight;
  }
  return life;
}

std::string poolName(int64_t stage, Role role, const schedule::Lifetime &life) {
  auto letter = [](TaskKind kind) {
    return kind == TaskKind::BackwardWeight ? "W" : kind == TaskKind::BackwardInput ? "I" : "F";
  };
  std::string name = "s" + std::to_string(stage) + "." + plan::stringifyRole(role).str();
  if (role == Role::Saved) {
    name += std::string(".") + letter(life.first);
  }
  return name + "-" + letter(life.last);
}

class MemoryPlanner {
public:
  MemoryPlanner(ModuleOp module)
      : module(module), builder(OpBuilder::atBlockEnd(module.getBody())),
        settings(*module.getOps<plan::SettingsOp>().begin()),
        schedule(*module.getOps<plan::ScheduleOp>().begin()), training(schedule.training()),
        evaluation(schedule.evaluation()), shards(module) {}

  LogicalResult run() {
    Location location = madeBy("plan-memory", settings.getLoc());
    for (Attribute target : settings.getTargets()) {
      builder.setInsertionPointToEnd(module.getBody());
      auto executable = command::ExecutableOp::create(builder, location, cast<StringAttr>(target));
      Block *ranks = builder.createBlock(&executable.getBody());
      for (int rank = 0; rank < training.rankCount(); ++rank) {
        builder.setInsertionPointToEnd(ranks);
        auto op = command::RankOp::create(builder, location, rank);
        builder.createBlock(&op.getBody());
        memory = RankMemory(cast<StringAttr>(target).str(), {tierOf(settings.getWeightsOffloadAttr()),
                                                             tierOf(settings.getStatesOffloadAttr())});
        planRank(rank);
        if (memory.isTooLarge()) {
          return emitError(settings.getLoc(), "the plan needs more than " + Twine(catalogue::kMaxArenaBytes) +
                                                  " bytes in one arena")
                     .attachNote()
                 << "choose a smaller train_micro_batch_size_per_gpu or smaller layers";
        }
        memory.write(builder, location);
      }
    }
    return success();
  }

private:
  static int64_t tierOf(plan::OffloadAttr offload) { return offload ? offload.tierNumber() : 0; }

  void planRank(int rank) {
    for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
      if (stage.getRank() == rank) {
        planStage(stage);
      }
    }
    planScalars();
    planShared(rank);
    memory.placeScratch(exchangeScratch(module, rank).total());
    memory.placeWindows(offloadWindows(module, rank).total());
  }

  void planStage(plan::StageOp stage) {
    StageValues values = valuesOf(stage);
    int64_t index = stage.getIndex();
    for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) { // import order
      for (auto &[name, value] : values) {
        Role role = name.getRole();
        bool persistent = role == Role::Parameter || role == Role::Accumulator || role == Role::State;
        if (!persistent || name.parameterAndState().first != parameter.getSymName()) {
          continue;
        }
        if (shards.isSharded(index, name)) {
          memory.placeSharded(index, name, shardExtent(index, values, name));
        } else {
          memory.placeFixed(index, name, value.type);
        }
      }
    }
    if (settings.compressesGradients()) {
      for (auto &[parameter, sums] : gradientSums(module)) {
        for (const GradientSum &sum : sums) {
          if (sum.stage == stage) {
            memory.placeFixed(index, sum.residual(), sum.type);
          }
        }
      }
    }
    for (layer::BufferOp buffer : module.getOps<layer::BufferOp>()) {
      auto name = plan::ValueAttr::get(buffer.getContext(), Role::Buffer, buffer.getSymName());
      if (auto found = values.find(name); found != values.end()) {
        memory.placeFixed(index, name, found->second.type);
      }
    }
    for (auto &[name, value] : values) {
      if (name.getRole() == Role::Derived) {
        memory.placeFixed(index, name, value.type);
      }
    }
    FunctionBuffers::Overwritten overwritten = FunctionBuffers::overwrittenIn(stage);
    for (auto &[result, input] : overwritten) {
      values[input].inBackwardWeight |= values[result].inBackwardWeight;
    }
    planPools(index, values, overwritten);
    for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
      memory.placeLocals(index, function);
    }
  }

  /// Of the largest shard of the stage's values of the same role, and state or use.
  RankMemory::ShardExtent shardExtent(int64_t stage, const StageValues &values, plan::ValueAttr like) {
    std::vector<schedule::ShardPiece> stay, leave;
    for (auto &[name, value] : values) {
      bool isAlike = name.getRole() == like.getRole() &&
                     name.parameterAndState().second == like.parameterAndState().second;
      if (isAlike && shards.isSharded(stage, name)) {
        for (schedule::ShardPiece piece : shards.pieces(stage, name)) {
          bool leaves = shards.isOffloaded(stage, name, piece);
          piece.offset = shards.offsetOf(stage, name, piece);
          (leaves ? leave : stay).push_back(piece);
        }
      }
    }
    return {schedule::shardElements(stay), shards.offloadedFrom(stage, like).value_or(0),
            schedule::shardElements(leave)};
  }

  /// Values of one role and one lifetime share the slots of one pool. All that a stage sends (or receives) in
  /// one direction lies together, as one transfer moves it.
  void planPools(int64_t stage, const StageValues &values, const FunctionBuffers::Overwritten &overwritten) {
    llvm::MapVector<int64_t, schedule::Lifetime> transfers;
    auto poolRole = [](Role role) {
      return role == Role::Receive || role == Role::Send || role == Role::ReceiveGradient ||
             role == Role::SendGradient;
    };
    for (auto &[name, value] : values) {
      if (poolRole(name.getRole())) {
        schedule::Lifetime life = lifetimeOf(static_cast<int>(stage), name.getRole(), value);
        auto [entry, isNew] = transfers.try_emplace(static_cast<int64_t>(name.getRole()), life);
        entry->second.last = std::max(entry->second.last, life.last);
      }
    }
    // Both ends of a transfer see the same names: by name, they lie in the same order.
    SmallVector<std::pair<plan::ValueAttr, StageValue>> pooled;
    for (auto &[name, value] : values) {
      bool isSaved = name.getRole() == Role::Saved && !overwritten.contains(name);
      if (poolRole(name.getRole()) || isSaved || name.getRole() == Role::Input) {
        pooled.push_back({name, value});
      }
    }
    llvm::sort(pooled, [](auto &a, auto &b) {
      return std::pair(a.first.getName(), a.first.getRole()) <
             std::pair(b.first.getName(), b.first.getRole());
    });
    for (auto &[name, value] : pooled) {
      Role role = name.getRole();
      schedule::Lifetime life = poolRole(role) ? transfers[static_cast<int64_t>(role)]
                                               : lifetimeOf(static_cast<int>(stage), role, value);
      memory.placePooled(stage, name, value.type, poolName(stage, role, life), life,
                         role == Role::Input ? ArenaKind::Inputs : ArenaKind::Activations);
    }
    for (auto &[result, input] : overwritten) {
      memory.placeOver(stage, result, input);
    }
    memory.closePools(training, evaluation);
  }

  /// The cells that the runtime writes and reads each step; every rank has all of them.
  void planScalars() {
    Type f32 = builder.getF32Type(), f64 = builder.getF64Type(), i32 = builder.getI32Type();
    memory.placeScalar("learning_rate", RankedTensorType::get({1}, f64));
    for (auto [group, op] : llvm::enumerate(module.getOps<plan::GroupOp>())) {
      memory.placeScalar("learning_rate." + std::to_string(group), RankedTensorType::get({1}, f64));
    }
    memory.placeScalar("step", RankedTensorType::get({1}, i32));
    memory.placeScalar("bias_corrections", RankedTensorType::get({2}, f64));
    if (settings.cyclesFirstBeta()) {
      memory.placeScalar("beta1", RankedTensorType::get({1}, f64));
    }
    memory.placeScalar("clip_coefficient", RankedTensorType::get({1}, f32));
    memory.placeScalar("gradient_norm", RankedTensorType::get({1}, f64));
    if (!module.getOps<plan::LossScaleOp>().empty()) {
      memory.placeScalar("loss_scale", RankedTensorType::get({1}, f32));
    }
    if (settings.getStochasticRounding()) {
      memory.placeScalar("rounding", RankedTensorType::get({5}, i32));
    }
  }

  //  shared arena, the same on every rank:  [loss, terms | m micro-batches of the same | correct of m |
  //  partials, dense]
  void planShared(int rank) {
    int64_t granules = 0;
    for (plan::SharedOp shared : module.getOps<plan::SharedOp>()) {
      auto type = cast<RankedTensorType>(shared.getType());
      bool partial = shared.getName().starts_with("partials/");
      memory.placeShared(shared.getName(), type, partial ? 8 : catalogue::kAlignment);
      granules += partial ? type.getNumElements() : 0;
      bool perMicroBatch = shared.getName() == "losses" || shared.getName() == "correct";
      if (perMicroBatch && training.rankOfStage[shared.getStage()] == rank) {
        memory.placePerMicroBatch(shared.getStage(), shared.getName(), type, settings.getMicroBatches());
      }
    }
    memory.closeShared(granules, RankedTensorType::get({granules}, builder.getF64Type()));
  }

  ModuleOp module;
  OpBuilder builder;
  plan::SettingsOp settings;
  plan::ScheduleOp schedule;
  schedule::Schedule training, evaluation;
  ShardTable shards;
  RankMemory memory{"", {}};
};

struct PlanMemoryPass : impl::PlanMemoryBase<PlanMemoryPass> {
  void runOnOperation() override {
    if (failed(MemoryPlanner(getOperation()).run())) {
      signalPassFailure();
    }
  }
};

} // namespace
} // namespace stagewright
