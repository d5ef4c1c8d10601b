#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/memory/FunctionBuffers.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_MATERIALIZERESULTS
#include "generated-passes/Passes.h.inc"

namespace {

/// A result needs a copy unless its memory is free to carry its name: made by an op of this function and not
/// returned under another name, or the argument of the same name, updated in place.
void materialize(plan::FunctionOp function) {
  Block &body = function.getBody().front();
  llvm::DenseMap<Value, plan::ValueAttr> names;
  for (auto [name, argument] :
       llvm::zip(function.getInputs().getAsRange<plan::ValueAttr>(), body.getArguments())) {
    names[argument] = name;
  }
  OpBuilder builder(body.getTerminator());
  for (OpOperand &returned : body.getTerminator()->getOpOperands()) {
    auto name = cast<plan::ValueAttr>(function.getOutputs()[returned.getOperandNumber()]);
    auto [entry, isNew] = names.try_emplace(layer::memoryRoot(returned.get()), name);
    if (!isNew && entry->second != name) {
      Location location = madeBy("materialize-results", returned.get().getLoc());
      Value copy = layer::CopyOp::create(builder, location, returned.get());
      names[copy] = name;
      returned.set(copy);
    }
  }
}

struct MaterializeResultsPass : impl::MaterializeResultsBase<MaterializeResultsPass> {
  void runOnOperation() override {
    getOperation().walk([](plan::FunctionOp function) { materialize(function); });
  }
};

} // namespace
} // namespace stagewright
