// Behind import: the model is a chain of blocks of the layer dialect.
#include "passes/PhaseChecks.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYIMPORT
#include "generated-passes/Passes.h.inc"

namespace {

/// All ops of other dialects at once, with their counts.
LogicalResult checkDialect(ModuleOp module) {
  llvm::MapVector<StringRef, unsigned> counts;
  Operation *first = nullptr;
  module.walk([&](Operation *op) {
    if (op == module || isa_and_nonnull<layer::LayerDialect, plan::PlanDialect>(op->getDialect())) {
      return;
    }
    first = first ? first : op;
    ++counts[op->getName().getStringRef()];
  });
  if (!first) {
    return success();
  }
  std::string list;
  for (auto &[name, count] : counts) {
    list += (list.empty() ? "" : ", ") + name.str() + " (" + std::to_string(count) + ")";
  }
  auto diagnostic = first->emitError() << "the model holds ops that are not supported: " << list;
  diagnostic.attachNote() << "use the layers of the layer dialect (docs/dialects/layer.md)";
  return diagnostic;
}

LogicalResult checkInputs(ModuleOp module) {
  int64_t microBatchSize = theOne<plan::SettingsOp>(module).getMicroBatchSize();
  Block &body = theOne<layer::ModelOp>(module).getBody().front();
  llvm::StringSet<> names;
  llvm::StringMap<int> roles;
  for (auto [input, argument] : llvm::zip(module.getOps<layer::InputOp>(), body.getArguments())) {
    if (!names.insert(input.getName()).second) {
      return input.emitError("is the second input named \"") << input.getName() << "\"";
    }
    ++roles[input.getRole()];
    RankedTensorType wanted = microBatchOf(input, microBatchSize);
    if (argument.getType() != wanted) {
      return input.emitError("is ") << argument.getType() << " in the model, but a micro-batch of it is "
                                    << wanted;
    }
  }
  layer::LossOp loss = theOne<layer::LossOp>(module);
  if (roles["feature"] == 0 || (loss.getType().empty() && roles["label"] != 0) || roles["rows"] != 1 ||
      roles["random"] > 1) {
    return module.emitError("needs a feature, labels only where there is a loss, one count of valid rows and "
                            "at most one \"random\" "
                            "among its inputs");
  }
  const auto isCounted = [&](layer::InputOp input) {
    return input.getRole() == "label" && input.getName() == *loss.getAccuracy();
  };
  if (loss.getAccuracy() && llvm::none_of(module.getOps<layer::InputOp>(), isCounted)) {
    return loss.emitError() << "counts the correct rows of " << *loss.getAccuracy() << ", which is no label";
  }
  return success();
}

LogicalResult checkBlocks(layer::ModelOp model) {
  llvm::StringSet<> names;
  layer::BlockOp last;
  for (Operation &op : model.getBody().front().without_terminator()) {
    auto block = dyn_cast<layer::BlockOp>(op);
    if (!block || block.getOutputs().empty()) {
      return op.emitError("the model's body must be a list of layer.block, each with a result");
    }
    if (last && last.getLoss()) {
      return block.emitError("stands behind the loss");
    }
    if (!names.insert(block.getName()).second) {
      return block.emitError("is the second block named \"") << block.getName() << "\"";
    }
    for (Operation &inner : block.getBody().front().without_terminator()) {
      if (!isComputation(&inner) &&
          !isa<layer::ParameterValueOp, layer::BufferValueOp, layer::BufferUpdateOp>(inner)) {
        return inner.emitError("has no place in a block");
      }
    }
    last = block;
  }
  Operation *yield = model.getBody().front().getTerminator();
  if (!last || !last.getLoss() || names.size() < 2 || ValueRange(last.getOutputs()) != yield->getOperands()) {
    return model.emitError(
        "must be a list of blocks whose last one is the loss, and yield what that returns");
  }
  Builder builder(model.getContext());
  layer::LossOp loss = theOne<layer::LossOp>(model->getParentOfType<ModuleOp>());
  Type wanted[] = {RankedTensorType::get({loss.width()}, builder.getF32Type()),
                   RankedTensorType::get({1}, builder.getI64Type())};
  for (auto [type, want] : llvm::zip(yield->getOperandTypes(), wanted)) {
    if (type != want) {
      return last.emitError("returns ") << type << ", not " << want;
    }
  }
  return success();
}

LogicalResult checkParameters(ModuleOp module) {
  const auto groups = static_cast<int64_t>(llvm::range_size(module.getOps<plan::GroupOp>()));
  llvm::StringMap<int64_t> read; // uses so far
  LogicalResult holds = success();
  module.walk([&](layer::ParameterValueOp op) {
    auto use = op->hasOneUse() ? dyn_cast<layer::ParameterUseOp>(*op->user_begin()) : nullptr;
    if ((use ? use.getIndex() : 0) != read[op.getParameter()]++ && succeeded(holds)) {
      holds = op.emitError() << "reading " << read[op.getParameter()] << " of parameter " << op.getParameter()
                             << " is not marked as use " << read[op.getParameter()] - 1;
    }
  });
  module.walk([&](layer::ParameterUseOp op) {
    if (!op.getParameter().getDefiningOp<layer::ParameterValueOp>() && succeeded(holds)) {
      holds = op.emitError("uses no parameter");
    }
  });
  if (failed(holds)) {
    return failure();
  }
  for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
    if (!read.contains(parameter.getSymName())) {
      return parameter.emitError() << "parameter " << parameter.getSymName() << " is used by no layer";
    }
    if (parameter.getGroup() && (*parameter.getGroup() < 0 || *parameter.getGroup() >= groups)) {
      return parameter.emitError() << "parameter " << parameter.getSymName() << " is in group "
                                   << *parameter.getGroup() << " of " << groups;
    }
  }
  return success();
}

/// What the folder says of parameters is said of parameters.
LogicalResult checkFolder(ModuleOp module) {
  llvm::StringMap<int64_t> ranks;
  for (layer::ParameterOp parameter : module.getOps<layer::ParameterOp>()) {
    ranks[parameter.getSymName()] = static_cast<int64_t>(layer::shapeOf(parameter.getType()).size());
  }
  for (plan::FolderOp folder : module.getOps<plan::FolderOp>()) {
    for (StringRef name : folder.getTransposed().getAsValueRange<StringAttr>()) {
      if (ranks.lookup(name) != 2) {
        return folder.emitError() << "transposes " << name << ", which is no parameter of two dimensions";
      }
    }
    for (auto [index, name] : llvm::enumerate(folder.getCopies().getAsValueRange<StringAttr>())) {
      if (index % 2 == 1 && !ranks.contains(name)) {
        return folder.emitError() << "has a copy of " << name << ", which is no parameter";
      }
    }
  }
  return success();
}

/// Each buffer is read and updated once, by an op that overwrites what was read.
LogicalResult checkBuffers(ModuleOp module) {
  llvm::StringMap<int> reads, updates;
  WalkResult walked = module.walk([&](Operation *op) {
    if (auto read = dyn_cast<layer::BufferValueOp>(op)) {
      ++reads[read.getBuffer()];
    } else if (auto update = dyn_cast<layer::BufferUpdateOp>(op)) {
      ++updates[update.getBuffer()];
      auto read = layer::memoryRoot(update.getValue()).getDefiningOp<layer::BufferValueOp>();
      if (!read || read.getBuffer() != update.getBuffer()) {
        op->emitError("updates @") << update.getBuffer() << " by a value that does not overwrite it";
        return WalkResult::interrupt();
      }
    }
    return WalkResult::advance();
  });
  for (layer::BufferOp buffer : module.getOps<layer::BufferOp>()) {
    StringRef name = buffer.getSymName();
    if (!walked.wasInterrupted() && (reads.lookup(name) != 1 || updates.lookup(name) != 1)) {
      return buffer.emitError() << "buffer " << name << " is read " << reads.lookup(name)
                                << " times and updated " << updates.lookup(name) << " times, not once";
    }
  }
  return failure(walked.wasInterrupted());
}

/// What no later layer reads would be computed for nothing.
LogicalResult checkUses(layer::ModelOp model) {
  for (layer::BlockOp block : model.getBody().getOps<layer::BlockOp>()) {
    if (block->use_empty()) {
      auto diagnostic = block.emitError() << "no layer reads the output of layer " << block.getName();
      diagnostic.attachNote() << "name it in the \"inputs\" of a later layer or of a loss, or remove it";
      return diagnostic;
    }
  }
  return success();
}

struct VerifyImportPass : impl::VerifyImportBase<VerifyImportPass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Import))) {
      signalPassFailure();
    }
  }
};

} // namespace

LogicalResult importHolds(ModuleOp module) {
  layer::ModelOp model = theOne<layer::ModelOp>(module);
  return success(succeeded(checkDialect(module)) && succeeded(checkInputs(module)) &&
                 succeeded(checkBlocks(model)) && succeeded(checkParameters(module)) &&
                 succeeded(checkFolder(module)) && succeeded(checkBuffers(module)) &&
                 succeeded(checkUses(model)));
}

} // namespace stagewright
