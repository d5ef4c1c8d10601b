// Behind lower: nothing is left that the file cannot hold.
#include "passes/PhaseChecks.h"

#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYLOWER
#include "generated-passes/Passes.h.inc"

namespace {

struct VerifyLowerPass : impl::VerifyLowerBase<VerifyLowerPass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Lower))) {
      signalPassFailure();
    }
  }
};

} // namespace

LogicalResult lowerHolds(ModuleOp module) {
  llvm::StringSet<> parameters, buffers;
  for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
    parameters.insert(parameter.getSymName());
  }
  for (layer::BufferOp buffer : module.getOps<layer::BufferOp>()) {
    buffers.insert(buffer.getSymName());
  }
  WalkResult walked = module.walk([&](Operation *op) {
    bool isLeft =
        op->getParentOfType<command::ExecutableOp>() && !isa<command::CommandDialect>(op->getDialect());
    auto placement = dyn_cast<command::PlacementOp>(op);
    auto buffer = dyn_cast<command::BufferOp>(op);
    if (isLeft) {
      op->emitError("is left, and the file cannot hold it").attachNote() << "run the phase lower";
    } else if (placement && !parameters.contains(placement.getParameter())) {
      placement.emitError("places the parameter ") << placement.getParameter() << ", which is not declared";
    } else if (buffer && !buffers.contains(buffer.getBuffer())) {
      buffer.emitError("places the buffer ") << buffer.getBuffer() << ", which is not declared";
    } else {
      return WalkResult::advance();
    }
    return WalkResult::interrupt();
  });
  return failure(walked.wasInterrupted());
}

} // namespace stagewright
