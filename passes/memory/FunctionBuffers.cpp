#include "passes/memory/FunctionBuffers.h"

#include "catalogue/Catalogue.h"
#include "ir/command/CommandDialect.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace stagewright {

Value FunctionBuffers::owner(Value value) const {
  Value root = layer::memoryRoot(value);
  for (Value next = sharedWith.lookup(root); next; next = sharedWith.lookup(root)) {
    root = next;
  }
  return root;
}

FunctionBuffers::FunctionBuffers(plan::FunctionOp function) {
  Block &body = function.getBody().front();
  for (auto [name, argument] :
       llvm::zip(function.getInputs().getAsRange<plan::ValueAttr>(), body.getArguments())) {
    names[argument] = name;
  }
  for (auto [name, value] :
       llvm::zip(function.getOutputs().getAsRange<plan::ValueAttr>(), body.getTerminator()->getOperands())) {
    if (name.getRole() != plan::Role::Output) {
      names.try_emplace(layer::memoryRoot(value), name);
    }
  }
  llvm::DenseMap<Value, int64_t> lastUse; // by root
  int64_t at = 0;
  for (Operation &op : body) {
    for (Value operand : op.getOperands()) {
      lastUse[layer::memoryRoot(operand)] = at;
    }
    ++at;
  }
  at = 0;
  for (Operation &op : body.without_terminator()) {
    shareInPlace(&op, lastUse, at++);
  }
  // What has no name is local. A shared buffer lives as long as the last value in it.
  at = 0;
  for (Operation &op : body.without_terminator()) {
    for (Value result : op.getResults()) {
      if (layer::memoryRoot(result) != result) {
        continue;
      }
      Value holder = owner(result);
      if (names.contains(holder)) {
        continue;
      }
      auto [entry, isNew] = localIndex.try_emplace(holder, localBuffers.size());
      if (isNew) {
        localBuffers.push_back({command::byteSize(cast<RankedTensorType>(result.getType())), at, at});
      }
      Local &buffer = localBuffers[entry->second];
      buffer.end = std::max({buffer.end, at, lastUse.lookup(result)});
    }
    ++at;
  }
}

FunctionBuffers::Overwritten FunctionBuffers::overwrittenIn(plan::StageOp stage) {
  for (plan::FunctionOp function : stage.getBody().getOps<plan::FunctionOp>()) {
    if (function.getKind() == plan::FunctionKind::BackwardInput) {
      return FunctionBuffers(function).overwrites;
    }
  }
  return {};
}

/// Both have a name, and the stage's other functions do not read the input behind this one.
bool FunctionBuffers::mayOverwrite(Operation *op, Value input, Value output) const {
  plan::ValueAttr before = names.lookup(input), behind = names.lookup(output);
  auto function = cast<plan::FunctionOp>(op->getParentOp());
  if (function.getKind() != plan::FunctionKind::BackwardInput || input.getDefiningOp() || !before ||
      !behind || before.getRole() != plan::Role::Saved || behind.getRole() != plan::Role::Saved ||
      input.getType() != output.getType() ||
      llvm::count(llvm::map_range(op->getOperands(), layer::memoryRoot), input) != 1) {
    return false;
  }
  auto stage = cast<plan::StageOp>(function->getParentOp());
  return llvm::none_of(stage.getBody().getOps<plan::FunctionOp>(), [&](plan::FunctionOp other) {
    return other.getKind() == plan::FunctionKind::BackwardWeight &&
           llvm::is_contained(other.getInputs(), before);
  });
}

/// relu(linear(x)): where the kernel may overwrite its input and nobody reads that input again, both are one
/// buffer. The input, made earlier, moves into the output's memory.
void FunctionBuffers::shareInPlace(Operation *op, const llvm::DenseMap<Value, int64_t> &lastUse, int64_t at) {
  const catalogue::Kernel *entry = layer::kernelOf(op);
  if (!entry) {
    return;
  }
  SmallVector<Value> operands = layer::kernelOperands(op);
  for (catalogue::InPlacePair pair : entry->inPlace) {
    if (pair.input >= static_cast<int>(operands.size()) || pair.output >= static_cast<int>(operands.size())) {
      continue;
    }
    Value input = layer::memoryRoot(operands[pair.input]), output = operands[pair.output];
    if (layer::memoryRoot(output) != output || lastUse.lookup(input) != at || input == output) {
      continue;
    }
    bool inputIsLocal = input.getDefiningOp() && !names.contains(owner(input)) && owner(input) == input;
    if (inputIsLocal) {
      sharedWith[input] = output;
      return;
    }
    if (mayOverwrite(op, input, output)) {
      overwrites[names.lookup(output)] = names.lookup(input);
      return;
    }
  }
}

std::vector<int64_t> placeLocals(const std::vector<FunctionBuffers::Local> &locals, int64_t &total) {
  std::vector<int64_t> offsets(locals.size());
  total = 0;
  for (size_t i = 0; i < locals.size(); ++i) {
    int64_t bytes = static_cast<int64_t>(llvm::alignTo(locals[i].bytes, catalogue::kAlignment));
    int64_t offset = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t j = 0; j < i; ++j) {
        int64_t end =
            offsets[j] + static_cast<int64_t>(llvm::alignTo(locals[j].bytes, catalogue::kAlignment));
        bool together = locals[j].begin <= locals[i].end && locals[i].begin <= locals[j].end;
        if (together && offset < end && offsets[j] < offset + bytes) {
          offset = end;
          moved = true;
        }
      }
    }
    offsets[i] = offset;
    total = std::max(total, offset + bytes);
  }
  return offsets;
}

} // namespace stagewright
