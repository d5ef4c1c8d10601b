#include "passes/differentiate/Recompute.h"

#include "passes/Provenance.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace stagewright {
namespace {

using schedule::Recompute;

/// Kernels whose results cost little beside the bytes that keeping them would take. Those whose gradient
/// reads their own result (ReLU, tanh, softmax) save nothing.
bool isCheap(Operation *op) {
  return isa<layer::LayerNormOp, layer::RmsNormOp, layer::BatchNormOp, layer::SyncBatchNormOp,
             layer::GroupNormOp, layer::GeluOp, layer::SiluOp, layer::SwigluOp, layer::AttentionOp,
             layer::AttentionDropoutOp, layer::DropoutOp, layer::RotaryOp, layer::CastToOp, layer::SliceOp,
             layer::PermuteOp, layer::ExpandOp, layer::ConcatOp>(op);
}

/// What replicas have gathered is small and costs a wait: it is kept.
bool isOfReplicas(Operation *op) {
  auto gather = dyn_cast<layer::AllGatherOp>(op);
  return gather && gather.getAxis() == "data";
}

/// Which forward ops are computed again.
class Choice {
public:
  Choice(plan::StageOp stage, ArrayRef<Operation *> ops, const Recompute &policy)
      : policy(policy), forward(ops.begin(), ops.end()) {
    auto blocks = stage->getParentOfType<ModuleOp>().getOps<plan::BlockOp>();
    for (auto [index, block] : llvm::enumerate(blocks)) {
      auto number = static_cast<int64_t>(index);
      if (stage.getFirstBlock() <= number && number < stage.getEndBlock()) {
        segments[block.getName()] = segmentOf(block, number - stage.getFirstBlock());
      }
    }
  }

  /// Views are computed again with what they look at.
  bool isAgain(Operation *op) {
    if (isa_and_nonnull<layer::View>(op) && forward.contains(op)) {
      return isAgain(op->getOperand(0).getDefiningOp());
    }
    if (!op || !forward.contains(op) || !isa<layer::Kernel>(op) || isOfReplicas(op)) {
      return false;
    }
    if (policy.kind == Recompute::Kind::Selective) {
      return isCheap(op) && !leaves(op, op);
    }
    return segment(op) >= 0 && !leaves(op, op);
  }

private:
  /// A run of blocks that is computed again from what enters it; -1: none.
  int64_t segmentOf(plan::BlockOp block, int64_t number) {
    switch (policy.kind) {
    case Recompute::Kind::Interval:
      return number / policy.interval;
    case Recompute::Kind::Types:
      return llvm::is_contained(policy.types, block.getType()) ? number : -1;
    default:
      return -1;
    }
  }
  int64_t segment(Operation *op) {
    auto found = segments.find(blockName(op->getLoc()));
    return found == segments.end() ? -1 : found->second;
  }

  /// Whether a forward op of another segment, or a later stage, reads what `op` makes (directly or by a
  /// view).
  bool leaves(Operation *op, Operation *viewed) {
    return llvm::any_of(viewed->getUses(), [&](OpOperand &use) {
      Operation *user = use.getOwner();
      if (isa<plan::ReturnOp>(user)) {
        auto names = user->getParentOfType<plan::FunctionOp>().getOutputs();
        return cast<plan::ValueAttr>(names[use.getOperandNumber()]).getRole() != plan::Role::Output;
      }
      if (!forward.contains(user)) {
        return false;
      }
      if (isa<layer::View>(user)) {
        return leaves(op, user);
      }
      return policy.kind != Recompute::Kind::Selective && segment(user) != segment(op);
    });
  }

  const Recompute &policy;
  llvm::DenseSet<Operation *> forward;
  llvm::StringMap<int64_t> segments;
};

} // namespace

llvm::SmallSetVector<Operation *, 16> recompute(plan::StageOp stage, ArrayRef<Operation *> forward,
                                                const Recompute &policy) {
  llvm::SmallSetVector<Operation *, 16> clones;
  if (policy.kind == Recompute::Kind::None || forward.empty()) {
    return clones;
  }
  Choice choice(stage, forward, policy);
  IRMapping again;
  OpBuilder builder(stage.getContext());
  // The value to read in place of a forward value, computed before `reader`.
  auto valueFor = [&](auto &&self, Value value, Operation *reader) -> Value {
    Operation *op = value.getDefiningOp();
    if (!choice.isAgain(op)) {
      return value;
    }
    if (!again.contains(value)) {
      for (Value operand : op->getOperands()) {
        Value read = self(self, operand, reader);
        if (!again.contains(operand)) {
          again.map(operand, read);
        }
      }
      builder.setInsertionPoint(reader);
      Operation *clone = builder.clone(*op, again);
      clone->setLoc(madeBy("differentiate-stages", op->getLoc()));
      clones.insert(clone);
    }
    return again.lookup(value);
  };
  for (Operation *op = forward.back()->getNextNode(); op && !op->hasTrait<OpTrait::IsTerminator>();
       op = op->getNextNode()) {
    for (OpOperand &operand : op->getOpOperands()) {
      if (!clones.contains(op)) {
        operand.set(valueFor(valueFor, operand.get(), op));
      }
    }
  }
  return clones;
}

} // namespace stagewright
