// The only place that knows the order of passes.
#include "passes/Pipeline.h"

#include "passes/Passes.h"

#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

namespace stagewright {

const std::vector<std::string> &phaseNames() {
  static const std::vector<std::string> names = {"import",    "precision",     "search",
                                                 "partition", "differentiate", "parallel",
                                                 "schedule",  "memory",        "lower"};
  return names;
}

std::optional<Phase> phaseNamed(std::string_view name) {
  for (size_t i = 0; i < phaseNames().size(); ++i) {
    if (phaseNames()[i] == name) {
      return static_cast<Phase>(i);
    }
  }
  return std::nullopt;
}

void addVerification(OpPassManager &manager, Phase phase) {
  switch (phase) {
  case Phase::Import:
    return manager.addPass(createVerifyImport());
  case Phase::Precision:
    return manager.addPass(createVerifyPrecision());
  case Phase::Search:
    return manager.addPass(createVerifySearch());
  case Phase::Partition:
    return manager.addPass(createVerifyPartition());
  case Phase::Differentiate:
    return manager.addPass(createVerifyDifferentiate());
  case Phase::Parallel:
    return manager.addPass(createVerifyParallel());
  case Phase::Schedule:
    return manager.addPass(createVerifySchedule());
  case Phase::Memory:
    return manager.addPass(createVerifyMemory());
  case Phase::Lower:
    return manager.addPass(createVerifyLower());
  }
}

void addPhase(OpPassManager &manager, Phase phase) {
  switch (phase) {
  case Phase::Import: // the front end's work
    break;
  case Phase::Precision:
    manager.addPass(createSplitParameters());
    manager.addPass(createAssignPrecision());
    break;
  case Phase::Search:
    manager.addPass(createSearchPlan());
    break;
  case Phase::Partition:
    manager.addPass(createPartitionStages());
    break;
  case Phase::Differentiate:
    manager.addPass(createDifferentiateStages());
    manager.addPass(createPrepareWeights());
    break;
  case Phase::Parallel:
    manager.addPass(createInsertUpdate());
    manager.addPass(createShardParameters());
    manager.addPass(createGatherParameters());
    manager.addPass(createReduceMicroBatches());
    break;
  case Phase::Schedule:
    manager.addPass(createBuildSchedule());
    break;
  case Phase::Memory:
    manager.addPass(createMaterializeResults());
    manager.addPass(createPlanMemory());
    break;
  case Phase::Lower:
    manager.addPass(createLowerToCommands());
    break;
  }
  addVerification(manager, phase);
}

template <typename Op>
static bool holds(ModuleOp module) {
  return !module.getOps<Op>().empty();
}

std::optional<Phase> phaseOf(ModuleOp module) {
  if (!holds<plan::SettingsOp>(module)) {
    return std::nullopt;
  }
  if (holds<command::ExecutableOp>(module)) {
    return holds<plan::StageOp>(module) ? Phase::Memory : Phase::Lower;
  }
  if (holds<plan::ScheduleOp>(module)) {
    return Phase::Schedule;
  }
  if (auto stages = module.getOps<plan::StageOp>(); !stages.empty()) {
    if (plan::findFunction(*stages.begin(), plan::FunctionKind::Update)) {
      return Phase::Parallel;
    }
    return plan::findFunction(*stages.begin(), plan::FunctionKind::Model) ? Phase::Partition
                                                                          : Phase::Differentiate;
  }
  if (holds<plan::ChoiceOp>(module)) {
    return Phase::Search;
  }
  return holds<plan::PrecisionOp>(module) ? Phase::Precision : Phase::Import;
}

void registerPhasePipelines() {
  for (size_t i = 0; i < phaseNames().size(); ++i) {
    PassPipelineRegistration<>("phase-" + phaseNames()[i], "The passes of phase " + phaseNames()[i],
                               [i](OpPassManager &manager) { addPhase(manager, static_cast<Phase>(i)); });
  }
}

} // namespace stagewright
