#include "passes/Targets.h"

#include "passes/Passes.h"

#include "mlir/IR/OperationSupport.h"
#include "mlir/IR/OwningOpRef.h"

using namespace mlir;

namespace stagewright {
namespace {

LogicalResult runOn(ModuleOp module, Phase first, Phase last) {
  PassManager manager(module.getContext());
  if (first > Phase::Import) { // what earlier phases have ensured may come from a file
    addVerification(manager, static_cast<Phase>(static_cast<int>(first) - 1));
  }
  for (int phase = static_cast<int>(first); phase <= static_cast<int>(last); ++phase) {
    addPhase(manager, static_cast<Phase>(phase));
  }
  return manager.run(module);
}

plan::SettingsOp settingsOf(ModuleOp module) {
  return *module.getOps<plan::SettingsOp>().begin();
}

/// What a file has once: all but the programs, and the targets in the settings.
SmallVector<Operation *> sharedOps(ModuleOp module) {
  SmallVector<Operation *> ops;
  for (Operation &op : *module.getBody()) {
    if (!isa<command::ExecutableOp, plan::SettingsOp>(op)) {
      ops.push_back(&op);
    }
  }
  return ops;
}

/// Programs of all targets go with one schedule, one partition, one table of parameters.
LogicalResult checkAgreement(ModuleOp one, ModuleOp other) {
  auto refuse = [&](Operation *op) {
    return op->emitError("differs between the targets ")
           << settingsOf(one).getTargets() << " and " << settingsOf(other).getTargets()
           << ", which share everything but programs and memory: a mistake of the compiler";
  };
  SmallVector<Operation *> ops = sharedOps(one), others = sharedOps(other);
  if (ops.size() != others.size()) {
    return refuse(one);
  }
  for (auto [a, b] : llvm::zip(ops, others)) {
    if (!OperationEquivalence::isEquivalentTo(a, b, OperationEquivalence::Flags::IgnoreLocations)) {
      return refuse(a);
    }
  }
  return success();
}

LogicalResult runForEach(ModuleOp module, Phase first) {
  ArrayAttr targets = settingsOf(module).getTargets();
  SmallVector<OwningOpRef<ModuleOp>> modules;
  for (Attribute target : targets) {
    OwningOpRef<ModuleOp> own = module.clone();
    settingsOf(*own).setTargetsAttr(ArrayAttr::get(module.getContext(), target));
    if (failed(runOn(*own, first, Phase::Lower)) ||
        (!modules.empty() && failed(checkAgreement(*modules.front(), *own)))) {
      return failure();
    }
    modules.push_back(std::move(own));
  }
  module.getBody()->clear();
  for (auto &own : modules) {
    for (Operation &op : llvm::make_early_inc_range(*(*own).getBody())) {
      if (*own == *modules.front() || isa<command::ExecutableOp>(op)) {
        op.moveBefore(module.getBody(), module.getBody()->end());
      }
    }
  }
  settingsOf(module).setTargetsAttr(targets);
  PassManager manager(module.getContext());
  addVerification(manager, Phase::Lower);
  return manager.run(module);
}

} // namespace

bool isForAllTargets(Phase phase) {
  return phase < Phase::Partition || phase == Phase::Lower;
}

LogicalResult runPhases(ModuleOp module, Phase first, Phase last) {
  const bool several = settingsOf(module).getTargets().size() > 1;
  if (!several || last < Phase::Partition || first > Phase::Lower) {
    return runOn(module, first, last);
  }
  if (first < Phase::Partition) {
    if (failed(runOn(module, first, Phase::Search))) {
      return failure();
    }
    first = Phase::Partition;
  }
  return runForEach(module, first);
}

} // namespace stagewright
