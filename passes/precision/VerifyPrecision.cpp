// Behind precision: types of the weights.
#include "passes/PhaseChecks.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYPRECISION
#include "generated-passes/Passes.h.inc"

namespace {

struct VerifyPrecisionPass : impl::VerifyPrecisionBase<VerifyPrecisionPass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Precision))) {
      signalPassFailure();
    }
  }
};

} // namespace

LogicalResult precisionHolds(ModuleOp module) {
  Type master = theOne<plan::PrecisionOp>(module).getMaster();
  for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
    if (cast<RankedTensorType>(parameter.getType()).getElementType() != master) {
      return parameter.emitError("is not of the master type ") << master;
    }
  }
  return success();
}

} // namespace stagewright
