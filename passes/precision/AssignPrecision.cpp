#include "passes/Passes.h"
#include "passes/Provenance.h"

#include "catalogue/Catalogue.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_ASSIGNPRECISION
#include "generated-passes/Passes.h.inc"

namespace {

Type elementOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getElementType();
}

void setElement(Value value, Type element) {
  value.setType(cast<RankedTensorType>(value.getType()).clone(element));
}

/// Gives one block the compute type. What its kernels' entries call T gets it; what they call f32 (weights,
/// statistics, losses) stays. Values of the other type are cast where they are read, once each.
class BlockTyper {
public:
  BlockTyper(layer::BlockOp block, Type compute) : block(block), compute(compute), builder(block) {}

  void run() {
    for (auto [outer, inner] : llvm::zip(block.getInputs(), block.getBody().getArguments())) {
      inner.setType(outer.getType());
    }
    Operation *yield = block.getBody().front().getTerminator();
    for (Operation &op : llvm::make_early_inc_range(block.getBody().front().without_terminator())) {
      // Parameters of products stay as they are: version 1 reads fp32, and what version 2 reads is derived
      // later.
      auto product = dyn_cast<layer::PackedOperand>(op);
      if (const catalogue::Kernel *entry =
              product ? catalogue::find(op.getName().stripDialect(), 1) : layer::kernelOf(&op)) {
        typeKernel(&op, *entry);
      } else if (isa<layer::View>(op)) {
        setElement(op.getResult(0), elementOf(op.getOperand(0)));
      }
    }
    for (auto [output, value] : llvm::zip(block.getOutputs(), yield->getOperands())) {
      output.setType(value.getType());
    }
  }

private:
  void typeKernel(Operation *op, const catalogue::Kernel &entry) {
    unsigned operand = 0, result = 0;
    for (const catalogue::OperandRule &rule : entry.operands) {
      if (rule.access == catalogue::Access::Write) {
        if (rule.element && result < op->getNumResults()) {
          setElement(op->getResult(result), compute);
        }
        ++result;
        continue;
      }
      if (operand < op->getNumOperands() && (rule.element || rule.dtype == catalogue::DType::F32)) {
        Type wanted = rule.element ? compute : builder.getF32Type();
        op->setOperand(operand, cast(op, op->getOperand(operand), wanted));
      }
      ++operand;
      result += rule.access == catalogue::Access::ReadWrite;
    }
  }

  Value cast(Operation *reader, Value value, Type wanted) {
    if (elementOf(value) == wanted) {
      return value;
    }
    Value &known = casts[value];
    if (!known) {
      builder.setInsertionPoint(reader);
      Location location = madeBy("assign-precision", reader->getLoc());
      Type type = mlir::cast<RankedTensorType>(value.getType()).clone(wanted);
      known = wanted == compute ? layer::CastToOp::create(builder, location, type, value).getY()
                                : layer::CastFromOp::create(builder, location, type, value).getY();
    }
    return known;
  }

  layer::BlockOp block;
  Type compute;
  OpBuilder builder;
  llvm::DenseMap<Value, Value> casts;
};

struct AssignPrecisionPass : impl::AssignPrecisionBase<AssignPrecisionPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    layer::ModelOp model = *module.getOps<layer::ModelOp>().begin();
    plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
    OpBuilder builder(model);
    Type f32 = builder.getF32Type();
    Type compute = settings.getPrecision() == "fp16"   ? Type(builder.getF16Type())
                   : settings.getPrecision() == "bf16" ? Type(builder.getBF16Type())
                                                       : f32;
    plan::PrecisionOp::create(builder, madeBy("assign-precision", model.getLoc()), TypeAttr::get(compute),
                              TypeAttr::get(f32));
    if (compute == f32) {
      return;
    }
    for (layer::BlockOp block : model.getBody().getOps<layer::BlockOp>()) {
      BlockTyper(block, compute).run();
    }
  }
};

} // namespace
} // namespace stagewright
