#include "passes/Passes.h"
#include "passes/Provenance.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_ASSIGNPRECISION
#include "generated-passes/Passes.h.inc"

namespace {

struct AssignPrecisionPass : impl::AssignPrecisionBase<AssignPrecisionPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    layer::ModelOp model = *module.getOps<layer::ModelOp>().begin();
    OpBuilder builder(model);
    TypeAttr f32 = TypeAttr::get(builder.getF32Type());
    plan::PrecisionOp::create(builder, madeBy("assign-precision", model.getLoc()), f32, f32,
                              builder.getF64FloatAttr(1.0));
  }
};

} // namespace
} // namespace stagewright
