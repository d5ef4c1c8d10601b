// Behind partition: stages in order, whose functions hold computations and name what is declared.
#include "passes/PhaseChecks.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYPARTITION
#include "generated-passes/Passes.h.inc"

namespace {

using plan::FunctionKind;
using plan::Role;

/// Declared types, by name.
struct Declared {
  llvm::StringMap<Type> parameters, buffers, inputs;
  int64_t losses = 1; ///< of a micro-batch

  explicit Declared(ModuleOp module) {
    for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
      parameters[parameter.getSymName()] = parameter.getType();
    }
    for (layer::BufferOp buffer : module.getOps<layer::BufferOp>()) {
      buffers[buffer.getSymName()] = buffer.getType();
    }
    losses = theOne<layer::LossOp>(module).width();
    int64_t microBatchSize = theOne<plan::SettingsOp>(module).getMicroBatchSize();
    for (layer::InputOp input : module.getOps<layer::InputOp>()) {
      inputs[input.getName()] = microBatchOf(input, microBatchSize);
    }
  }

  /// Null where nothing of the name is declared; the value's own type where the role needs no declaration.
  Type typeOf(plan::ValueAttr name, Type own) const {
    switch (name.getRole()) {
    case Role::Parameter:
    case Role::Accumulator:
    case Role::State:
      return parameters.lookup(name.parameterAndState().first);
    case Role::Buffer:
      return buffers.lookup(name.getName());
    case Role::Input:
      return inputs.lookup(name.getName());
    case Role::Loss:
      return RankedTensorType::get({losses}, Float32Type::get(own.getContext()));
    case Role::Correct:
      return RankedTensorType::get({1}, IntegerType::get(own.getContext(), 64));
    default:
      return own;
    }
  }
};

LogicalResult checkFunction(plan::FunctionOp function, const Declared &declared, bool isLastStage) {
  for (Operation &op : function.getBody().front().without_terminator()) {
    if (!isComputation(&op) && !isa<plan::GatherOp, plan::GradientOp, plan::ReduceOp, plan::AwaitOp>(op)) {
      return op.emitError("has no place in a function of a stage, which holds computations only");
    }
  }
  // Other micro-batches update a buffer between a forward and its backward function.
  bool updates = function.getKind() == FunctionKind::Model || function.getKind() == FunctionKind::Forward;
  bool reads = updates || function.getKind() == FunctionKind::Evaluate;
  if ((!updates && !typesOf(function, Role::Buffer, true).empty()) ||
      (!reads && !typesOf(function, Role::Buffer, false).empty())) {
    return function.emitError(
        "names a buffer, which only training's forward function updates and evaluation reads");
  }
  LogicalResult holds = success();
  forEachValue(function, [&](plan::ValueAttr name, Value value) {
    Type wanted = declared.typeOf(name, value.getType());
    bool atEnd =
        name.getRole() == Role::Loss || name.getRole() == Role::Correct || name.getRole() == Role::Output;
    if (succeeded(holds) && (wanted != value.getType() || (atEnd && !isLastStage))) {
      holds = function.emitError("names ")
              << name << " of type " << value.getType() << ", which is not declared so";
    }
  });
  return holds;
}

struct VerifyPartitionPass : impl::VerifyPartitionBase<VerifyPartitionPass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Partition))) {
      signalPassFailure();
    }
  }
};

} // namespace

LogicalResult partitionHolds(ModuleOp module) {
  Declared declared(module);
  ArrayRef<int64_t> boundaries = theOne<plan::ChoiceOp>(module).getBoundaries();
  auto stages = static_cast<int64_t>(boundaries.size()) - 1;
  plan::MeshOp mesh = theOne<plan::MeshOp>(module);
  plan::SettingsOp settings = theOne<plan::SettingsOp>(module);
  if (mesh.getPipe() != stages || mesh.getData() != settings.getDataParallel() ||
      mesh.getTensor() != settings.getTensorParallel()) {
    return mesh.emitError("is not for ") << stages << " stages";
  }
  if (settings.getTargets().size() != 1) {
    return settings.emitError("has ")
           << settings.getTargets().size() << " targets; from the phase partition on a module is for one";
  }
  int64_t index = 0;
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    if (index >= stages || stage.getIndex() != index || stage.getRank() != index ||
        stage.getFirstBlock() != boundaries[index] || stage.getEndBlock() != boundaries[index + 1]) {
      return stage.emitError("is out of order, or not of the rank and the blocks that the choice gives it");
    }
    ++index;
    for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
      if (failed(checkFunction(function, declared, index == stages))) {
        return failure();
      }
    }
  }
  if (index != stages) {
    return module.emitError("has ") << index << " stages, but the choice makes " << stages;
  }
  return success();
}

LogicalResult modelFunctionsHold(ModuleOp module) {
  if (failed(checkChain(module, FunctionKind::Model))) {
    return failure();
  }
  auto isParameter = [](Value value) {
    auto argument = dyn_cast<BlockArgument>(value);
    auto function =
        argument ? dyn_cast<plan::FunctionOp>(argument.getOwner()->getParentOp()) : plan::FunctionOp();
    return function &&
           cast<plan::ValueAttr>(function.getInputs()[argument.getArgNumber()]).getRole() == Role::Parameter;
  };
  WalkResult walked = module.walk([&](Operation *op) {
    auto product = dyn_cast<layer::PackedOperand>(op);
    auto use = dyn_cast<layer::ParameterUseOp>(op);
    auto reads = [&](OpOperand *operand) { return isParameter(layer::withoutUse(operand->get())); };
    if ((product && !llvm::all_of(product.parameterOperands(), reads)) ||
        (use && !isParameter(use.getParameter()))) {
      op->emitError("has a weight or a bias that is no parameter of its stage");
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return failure(walked.wasInterrupted());
}

} // namespace stagewright
