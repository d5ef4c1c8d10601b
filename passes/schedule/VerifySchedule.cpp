// Behind schedule: the task lists are for the stages, ranks and micro-batches of the plan.
#include "passes/PhaseChecks.h"
#include "passes/parallel/Shards.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYSCHEDULE
#include "generated-passes/Passes.h.inc"

namespace {

struct VerifySchedulePass : impl::VerifyScheduleBase<VerifySchedulePass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Schedule))) {
      signalPassFailure();
    }
  }
};

} // namespace

LogicalResult scheduleHolds(ModuleOp module) {
  plan::ScheduleOp schedule = theOne<plan::ScheduleOp>(module);
  plan::SettingsOp settings = theOne<plan::SettingsOp>(module);
  ArrayRef<int64_t> ranks = schedule.getRankOfStage();
  auto lists = static_cast<int64_t>(llvm::range_size(schedule.getBody().getOps<plan::RankOp>()));
  bool same = schedule.getMicroBatches() == settings.getMicroBatches() &&
              static_cast<int64_t>(ranks.size()) == settings.getStages() &&
              lists == theOne<plan::MeshOp>(module).getPipe();
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) { // numbered from 0; none behind lower
    same = same && stage.getRank() == ranks[stage.getIndex()];
  }
  if (!same) {
    return schedule.emitError("is not for the stages, ranks and micro-batches of this plan");
  }
  bool hasStages = !module.getOps<plan::StageOp>().empty();
  if (hasStages) {
    schedule::StepExchanges wanted = exchangesOf(module), found = schedule::exchangesOf(schedule.training());
    if (wanted.ties != found.ties) {
      return schedule.emitError("exchanges the parameters of other stages than those that share some");
    }
    if (wanted != found) {
      return schedule.emitError(
          "has not the tasks of the replicas: REDUCE of several, GATHER of such with ZeRO");
    }
  }
  return success();
}

} // namespace stagewright
