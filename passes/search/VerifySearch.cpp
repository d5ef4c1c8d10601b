// Behind search: the choice covers the table of blocks.
#include "passes/PhaseChecks.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_VERIFYSEARCH
#include "generated-passes/Passes.h.inc"

namespace {

struct VerifySearchPass : impl::VerifySearchBase<VerifySearchPass> {
  void runOnOperation() override {
    if (failed(phaseHolds(getOperation(), Phase::Search))) {
      signalPassFailure();
    }
  }
};

} // namespace

LogicalResult searchHolds(ModuleOp module) {
  plan::ChoiceOp choice = theOne<plan::ChoiceOp>(module);
  int64_t stages = theOne<plan::SettingsOp>(module).getStages();
  auto blocks = static_cast<int64_t>(llvm::range_size(module.getOps<plan::BlockOp>()));
  int64_t listed = blocks;
  for (layer::ModelOp model : module.getOps<layer::ModelOp>()) { // until the model is partitioned
    listed = llvm::count_if(model.getBody().getOps<layer::BlockOp>(),
                            [](layer::BlockOp block) { return !block.getLoss(); });
  }
  ArrayRef<int64_t> boundaries = choice.getBoundaries();
  if (boundaries.back() != blocks || blocks != listed ||
      static_cast<int64_t>(boundaries.size()) != stages + 1) {
    auto diagnostic = choice.emitError("does not cut the ")
                      << listed << " blocks into " << stages << " stages";
    diagnostic.attachNote() << "boundaries begin with 0, ascend, and end with the number of blocks";
    return diagnostic;
  }
  return success();
}

} // namespace stagewright
