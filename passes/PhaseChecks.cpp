#include "passes/PhaseChecks.h"

#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace stagewright {
namespace {

/// From which phase to which ops of a type stand at the top of the module, and how many.
struct Presence {
  StringRef op;
  Phase from, to;
  unsigned least, most;
};

constexpr unsigned kMany = ~0u;

ArrayRef<Presence> presences() {
  static const Presence kTable[] = {
      {plan::SettingsOp::getOperationName(), Phase::Import, Phase::Lower, 1, 1},
      {plan::LossScaleOp::getOperationName(), Phase::Import, Phase::Lower, 0, 1},
      {layer::LossOp::getOperationName(), Phase::Import, Phase::Lower, 1, 1},
      {layer::InputOp::getOperationName(), Phase::Import, Phase::Lower, 1, kMany},
      {layer::ParameterOp::getOperationName(), Phase::Import, Phase::Lower, 1, kMany},
      {layer::BufferOp::getOperationName(), Phase::Import, Phase::Lower, 0, kMany},
      {plan::GroupOp::getOperationName(), Phase::Import, Phase::Lower, 0, kMany},
      {plan::FolderOp::getOperationName(), Phase::Import, Phase::Lower, 0, 1},
      {layer::ModelOp::getOperationName(), Phase::Import, Phase::Search, 1, 1},
      {plan::PrecisionOp::getOperationName(), Phase::Precision, Phase::Lower, 1, 1},
      {plan::BlockOp::getOperationName(), Phase::Search, Phase::Lower, 1, kMany},
      {plan::ChoiceOp::getOperationName(), Phase::Search, Phase::Lower, 1, 1},
      {plan::MeshOp::getOperationName(), Phase::Partition, Phase::Lower, 1, 1},
      {plan::StageOp::getOperationName(), Phase::Partition, Phase::Memory, 1, kMany},
      {plan::SharedOp::getOperationName(), Phase::Parallel, Phase::Memory, 1, kMany},
      {plan::ShardOp::getOperationName(), Phase::Parallel, Phase::Memory, 0, kMany},
      {plan::ScheduleOp::getOperationName(), Phase::Schedule, Phase::Lower, 1, 1},
      {command::ExecutableOp::getOperationName(), Phase::Memory, Phase::Lower, 1, kMany},
  };
  return kTable;
}

/// Ops at the top of the module that have no place there, all at once with their counts; then those that are
/// missing.
LogicalResult checkPresence(ModuleOp module, Phase phase) {
  llvm::MapVector<StringRef, unsigned> counts, misplaced;
  Operation *first = nullptr;
  for (Operation &op : *module.getBody()) {
    StringRef name = op.getName().getStringRef();
    ++counts[name];
    bool hasPlace = llvm::any_of(presences(), [&](const Presence &entry) {
      return entry.op == name && entry.from <= phase && phase <= entry.to;
    });
    if (!hasPlace) {
      first = first ? first : &op;
      ++misplaced[name];
    }
  }
  const std::string &phaseName = phaseNames()[static_cast<size_t>(phase)];
  if (first) {
    std::string list;
    for (auto &[name, count] : misplaced) {
      list += (list.empty() ? "" : ", ") + name.str() + " (" + std::to_string(count) + ")";
    }
    return first->emitError("these ops have no place behind the phase ") << phaseName << ": " << list;
  }
  for (const Presence &entry : presences()) {
    unsigned count = counts.lookup(entry.op);
    if (entry.from <= phase && phase <= entry.to && (count < entry.least || count > entry.most)) {
      return module.emitError("needs ") << (entry.most == 1 ? "one " : "at least one ") << entry.op
                                        << " behind the phase " << phaseName << ", but has " << count;
    }
  }
  return success();
}

} // namespace

LogicalResult phaseHolds(ModuleOp module, Phase phase) {
  struct Part {
    Phase from, to;
    LogicalResult (*holds)(ModuleOp);
  };
  static constexpr Part kParts[] = {
      {Phase::Import, Phase::Search, importHolds},
      {Phase::Precision, Phase::Lower, precisionHolds},
      {Phase::Search, Phase::Lower, searchHolds},
      {Phase::Partition, Phase::Memory, partitionHolds},
      {Phase::Partition, Phase::Partition, modelFunctionsHold},
      {Phase::Differentiate, Phase::Memory, differentiateHolds},
      {Phase::Parallel, Phase::Memory, parallelHolds},
      {Phase::Schedule, Phase::Lower, scheduleHolds},
      {Phase::Memory, Phase::Lower, executablesHold},
      {Phase::Memory, Phase::Memory, memoryHolds},
      {Phase::Lower, Phase::Lower, lowerHolds},
  };
  if (failed(checkPresence(module, phase))) {
    return failure();
  }
  for (const Part &part : kParts) { // each relies on those before
    if (part.from <= phase && phase <= part.to && failed(part.holds(module))) {
      return failure();
    }
  }
  return success();
}

void forEachValue(plan::FunctionOp function, llvm::function_ref<void(plan::ValueAttr, Value)> visit) {
  Block &body = function.getBody().front();
  for (auto [name, value] :
       llvm::zip(function.getInputs().getAsRange<plan::ValueAttr>(), body.getArguments())) {
    visit(name, value);
  }
  for (auto [name, value] :
       llvm::zip(function.getOutputs().getAsRange<plan::ValueAttr>(), body.getTerminator()->getOperands())) {
    visit(name, value);
  }
}

llvm::StringMap<Type> typesOf(plan::FunctionOp function, plan::Role role, bool results) {
  llvm::StringMap<Type> types;
  ArrayAttr names = results ? function.getOutputs() : function.getInputs();
  Block &body = function.getBody().front();
  for (auto [index, name] : llvm::enumerate(names.getAsRange<plan::ValueAttr>())) {
    if (name.getRole() == role) {
      types[name.getName()] =
          results ? body.getTerminator()->getOperand(index).getType() : body.getArgument(index).getType();
    }
  }
  return types;
}

LogicalResult checkChain(ModuleOp module, plan::FunctionKind kind) {
  llvm::StringMap<Type> sent;
  bool isFirst = true;
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    plan::FunctionOp function = plan::findFunction(stage, kind);
    if (!function) {
      return stage.emitError("has no function ") << plan::stringifyFunctionKind(kind);
    }
    llvm::StringMap<Type> received = typesOf(function, plan::Role::Receive, false);
    bool equal = received.size() == sent.size() && llvm::all_of(received, [&](auto &entry) {
                   return sent.lookup(entry.getKey()) == entry.getValue();
                 });
    if (!equal || (!isFirst && sent.empty())) {
      return stage.emitError("does not receive what stage ") << stage.getIndex() - 1 << " sends";
    }
    sent = typesOf(function, plan::Role::Send, true);
    isFirst = false;
  }
  return success();
}

RankedTensorType microBatchOf(layer::InputOp input, int64_t microBatchSize) {
  auto sample = cast<RankedTensorType>(input.getSample());
  if (!input.isOfSamples()) {
    return sample;
  }
  SmallVector<int64_t> shape = {microBatchSize};
  llvm::append_range(shape, sample.getShape());
  return RankedTensorType::get(shape, sample.getElementType());
}

bool isComputation(Operation *op) {
  return isa<layer::LayerDialect>(op->getDialect()) && op->getNumRegions() == 0 &&
         !isa<layer::ParameterOp, layer::BufferOp, layer::InputOp, layer::LossOp, layer::YieldOp,
              layer::ParameterValueOp, layer::BufferValueOp, layer::BufferUpdateOp>(op);
}

} // namespace stagewright
