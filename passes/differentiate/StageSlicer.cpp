#include "passes/differentiate/StageSlicer.h"

#include "passes/Provenance.h"

using namespace mlir;

namespace stagewright {
namespace {

using plan::FunctionKind;
using plan::Role;

/// The ops of `ops` that `results` depend on, in order.
SmallVector<Operation *> liveOps(ArrayRef<Operation *> ops, ArrayRef<SliceResult> results) {
  llvm::DenseSet<Operation *> inSlice(ops.begin(), ops.end()), live;
  SmallVector<Value> pending;
  for (const SliceResult &result : results) {
    pending.push_back(result.value);
  }
  while (!pending.empty()) {
    Operation *op = pending.pop_back_val().getDefiningOp();
    if (op && inSlice.contains(op) && live.insert(op).second) {
      llvm::append_range(pending, op->getOperands());
    }
  }
  return llvm::filter_to_vector(ops, [&](Operation *op) { return live.contains(op); });
}

} // namespace

plan::ValueAttr StageSlicer::saved(Value value) {
  if (plan::ValueAttr leaving = leavingNames.lookup(value)) {
    return leaving;
  }
  plan::ValueAttr &name = savedValues[value];
  if (!name) {
    Operation *op = value.getDefiningOp();
    std::string text = (blockName(op->getLoc()) + "/" + op->getName().stripDialect()).str();
    if (op->getNumResults() > 1) {
      text += ":" + std::to_string(cast<OpResult>(value).getResultNumber());
    }
    std::string unique = text;
    for (int n = 2; !savedNames.insert(unique).second; ++n) {
      unique = text + "." + std::to_string(n);
    }
    name = plan::ValueAttr::get(builder.getContext(), Role::Saved, unique);
  }
  return name;
}

void StageSlicer::slice(FunctionKind kind, ArrayRef<Operation *> ops, ArrayRef<SliceResult> results) {
  llvm::DenseSet<Operation *> inSlice(ops.begin(), ops.end());
  SmallVector<SliceResult> all(results);
  for (auto &[value, name] : savedValues) {
    if (inSlice.contains(value.getDefiningOp())) {
      all.push_back({name, value});
    }
  }
  build(kind, ops, all);
}

void StageSlicer::sliceEvaluation(ArrayRef<Operation *> ops, ArrayRef<SliceResult> results) {
  build(FunctionKind::Evaluate, ops, results);
}

void StageSlicer::build(FunctionKind kind, ArrayRef<Operation *> ops, ArrayRef<SliceResult> results) {
  SmallVector<Operation *> live = liveOps(ops, results);
  llvm::DenseSet<Operation *> inSlice(live.begin(), live.end());
  Location location = madeBy("differentiate-stages", stage.getLoc());
  // Slices are built from the last to the first and stand in the order in which they run.
  kind == FunctionKind::Evaluate ? builder.setInsertionPointToEnd(&stage.getBody().front())
                                 : builder.setInsertionPointToStart(&stage.getBody().front());
  auto function =
      plan::FunctionOp::create(builder, location, kind, builder.getArrayAttr({}), builder.getArrayAttr({}));
  Block *body = builder.createBlock(&function.getBody());
  IRMapping mapping;
  SmallVector<Attribute> arguments, names;

  auto take = [&](Value value, plan::ValueAttr name) {
    arguments.push_back(name);
    mapping.map(value, body->addArgument(value.getType(), value.getLoc()));
  };
  // Brings a value of the joint graph into the function: an argument, a clone of a view, or a saved value.
  auto import = [&](auto &&self, Value value) -> void {
    if (mapping.contains(value)) {
      return;
    }
    if (auto name = argumentNames.find(value); name != argumentNames.end()) {
      take(value, name->second);
    } else if (auto view = value.getDefiningOp<layer::View>(); view && !inSlice.contains(view)) {
      self(self, view->getOperand(0));
      builder.clone(*view, mapping);
    } else {
      take(value, saved(value));
    }
  };
  // What the neighbours send arrives whether or not this stage needs it.
  auto takeAll = [&](Role role) {
    for (BlockArgument argument : plan::findFunction(stage, FunctionKind::Model).getBody().getArguments()) {
      auto name = argumentNames.lookup(argument);
      if (name && name.getRole() == role && !mapping.contains(argument)) {
        take(argument, name);
      }
    }
  };
  if (kind == FunctionKind::BackwardInput) {
    takeAll(Role::ReceiveGradient);
  }
  for (Operation *op : live) {
    for (Value operand : op->getOperands()) {
      import(import, operand);
    }
    builder.clone(*op, mapping);
  }
  SmallVector<Value> returned;
  for (const SliceResult &result : results) {
    import(import, result.value);
    names.push_back(result.name);
    returned.push_back(mapping.lookup(result.value));
  }
  if (kind == FunctionKind::Forward || kind == FunctionKind::Evaluate) {
    takeAll(Role::Receive);
  }
  plan::ReturnOp::create(builder, location, returned);
  function.setInputsAttr(builder.getArrayAttr(arguments));
  function.setOutputsAttr(builder.getArrayAttr(names));
}

} // namespace stagewright
