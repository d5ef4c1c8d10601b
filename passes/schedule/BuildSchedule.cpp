#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/parallel/Shards.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_BUILDSCHEDULE
#include "generated-passes/Passes.h.inc"

namespace {

/// Compute tasks, then transfers, then the tasks around the step.
Result<schedule::Schedule> trainingSchedule(StringRef kind, int stages, int microBatches,
                                            const schedule::StepExchanges &exchanges) {
  Result<schedule::Schedule> compute = schedule::generate({kind.data(), kind.size()}, stages, microBatches);
  if (!compute) {
    return compute.takeError();
  }
  Result<schedule::Schedule> withTransfers = schedule::addTransfers(*compute, exchanges);
  if (!withTransfers) {
    return withTransfers.takeError();
  }
  return schedule::addStepTasks(std::move(*withTransfers), exchanges);
}

struct BuildSchedulePass : impl::BuildScheduleBase<BuildSchedulePass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
    int stages = static_cast<int>(llvm::range_size(module.getOps<plan::StageOp>()));
    int microBatches = static_cast<int>(settings.getMicroBatches());
    Result<schedule::Schedule> training =
        trainingSchedule(settings.getSchedule(), stages, microBatches, exchangesOf(module));
    Result<schedule::Schedule> evaluation = schedule::generateEvaluation(stages, microBatches);
    if (!training || !evaluation) {
      const Error &error = training ? evaluation.error() : training.error();
      settings.emitError(error.what).attachNote() << error.advice;
      return signalPassFailure();
    }
    OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
    Location location = madeBy("build-schedule", settings.getLoc());
    SmallVector<int64_t> rankOfStage(training->rankOfStage.begin(), training->rankOfStage.end());
    auto op = plan::ScheduleOp::create(builder, location, training->kind, microBatches, rankOfStage);
    builder.createBlock(&op.getBody());
    for (int rank = 0; rank < training->rankCount(); ++rank) {
      plan::RankOp::create(builder, location, rank,
                           plan::TasksAttr::get(&getContext(), training->ranks[rank]),
                           plan::TasksAttr::get(&getContext(), evaluation->ranks[rank]));
    }
  }
};

} // namespace
} // namespace stagewright
