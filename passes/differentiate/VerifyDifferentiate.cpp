// Behind differentiate: every stage has its functions, and what they hand on is made before it is used.
#include "passes/PhaseChecks.h"

#include "catalogue/Target.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYDIFFERENTIATE
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

LogicalResult checkStage(plan::StageOp stage) {
  llvm::StringMap<Type> made[2]; // saved and derived values
  const Role roles[2] = {Role::Saved, Role::Derived};
  for (FunctionKind kind : {FunctionKind::Prepare, FunctionKind::Forward, FunctionKind::BackwardInput,
                            FunctionKind::BackwardWeight, FunctionKind::Evaluate}) {
    plan::FunctionOp function = plan::findFunction(stage, kind);
    if (!function) {
      return stage.emitError("has no function ") << plan::stringifyFunctionKind(kind);
    }
    for (int i = 0; i < 2; ++i) {
      for (auto &entry : typesOf(function, roles[i], false)) {
        if (made[i].lookup(entry.getKey()) != entry.getValue()) {
          return function.emitError("reads ") << plan::stringifyRole(roles[i]) << " value " << entry.getKey()
                                              << " before an earlier function made it";
        }
      }
      for (auto &entry : typesOf(function, roles[i], true)) {
        made[i][entry.getKey()] = entry.getValue();
      }
    }
  }
  return success();
}

/// Every micro-batch of training updates every buffer once.
LogicalResult checkBuffers(ModuleOp module) {
  llvm::StringMap<unsigned> updates;
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    for (auto &entry : typesOf(plan::findFunction(stage, FunctionKind::Forward), Role::Buffer, true)) {
      ++updates[entry.getKey()];
    }
  }
  for (layer::BufferOp buffer : module.getOps<layer::BufferOp>()) {
    if (updates.lookup(buffer.getSymName()) != 1) {
      return buffer.emitError() << "buffer " << buffer.getSymName() << " is updated by "
                                << updates.lookup(buffer.getSymName()) << " stages, not one";
    }
  }
  return success();
}

struct VerifyDifferentiatePass : impl::VerifyDifferentiateBase<VerifyDifferentiatePass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Differentiate))) {
      signalPassFailure();
    }
  }
};

} // namespace

LogicalResult differentiateHolds(ModuleOp module) {
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    if (failed(checkStage(stage))) {
      return failure();
    }
  }
  if (failed(checkBuffers(module))) {
    return failure();
  }
  bool onCuda =
      catalogue::isCuda(cast<StringAttr>(theOne<plan::SettingsOp>(module).getTargets()[0]).getValue());
  WalkResult walked = module.walk([&](layer::PackedOperand op) {
    if (onCuda ? op.isPlain() : op.isPacked()) {
      return WalkResult::advance();
    }
    op->emitError(
        onCuda ? "has a weight or a bias that is not of the type of its activations, as CUDA reads them; "
                 "run prepare-weights"
               : "has a weight that is not packed; run prepare-weights");
    return WalkResult::interrupt();
  });
  return failure(walked.wasInterrupted() || failed(checkChain(module, FunctionKind::Forward)) ||
                 failed(checkChain(module, FunctionKind::Evaluate)));
}

} // namespace stagewright
