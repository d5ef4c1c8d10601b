// Behind precision: types of the weights and of what kernels compute with.
#include "passes/PhaseChecks.h"

#include "catalogue/Catalogue.h"

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

/// Every T of a kernel's entry is the compute type, but for the end of the step.
LogicalResult checkComputeType(ModuleOp module, Type compute) {
  WalkResult walked = module.walk([&](layer::Kernel op) {
    if (isa<layer::CopyOp>(op)) {
      return WalkResult::advance(); // of whatever is copied
    }
    const catalogue::Kernel *entry = layer::kernelOf(op);
    for (auto [value, rule] : llvm::zip(op.kernelOperands(), entry->operands)) {
      if (rule.element && cast<RankedTensorType>(value.getType()).getElementType() != compute) {
        op->emitOpError("computes with ") << value.getType() << ", but the compute type is " << compute;
        return WalkResult::interrupt();
      }
    }
    return WalkResult::advance();
  });
  return failure(walked.wasInterrupted());
}

} // namespace

LogicalResult precisionHolds(ModuleOp module) {
  auto precision = theOne<plan::PrecisionOp>(module);
  Type master = precision.getMaster();
  bool scalesLoss = !module.getOps<plan::LossScaleOp>().empty();
  if (precision.getCompute().isF16() != scalesLoss) {
    return precision.emitError(scalesLoss ? "scales the loss, which only fp16 needs"
                                          : "computes in f16 and has no plan.loss_scale");
  }
  if (failed(checkComputeType(module, precision.getCompute()))) {
    return failure();
  }
  for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
    if (cast<RankedTensorType>(parameter.getType()).getElementType() != master) {
      return parameter.emitError("is not of the master type ") << master;
    }
  }
  return success();
}

} // namespace stagewright
