#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/search/PlanSearch.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_SEARCHPLAN
#include "generated-passes/Passes.h.inc"

namespace {

/// The row of one block: trainable parameters read in it (which is what DeepSpeed's partition counts) and
/// costs of its ops. `all`: receives the elements of frozen ones too. Of a model that is not trained every
/// parameter counts.
BlockRow rowOf(layer::BlockOp block, bool isTrained, int64_t &all) {
  BlockRow row{block.getName().str()};
  block.getBody().walk([&](Operation *op) {
    if (auto parameter = dyn_cast<layer::ParameterValueOp>(op)) {
      const int64_t elements = layer::elementCount(parameter.getValue());
      all += elements;
      auto declaration =
          SymbolTable::lookupNearestSymbolFrom<layer::ParameterOp>(op, parameter.getParameterAttr());
      row.parameters += isTrained && declaration.getFrozen() ? 0 : elements;
    } else if (auto cost = dyn_cast<layer::Cost>(op)) {
      row.forwardFlops += cost.flops();
      row.gradientFlops += cost.gradientFlops();
    }
  });
  return row;
}

struct SearchPlanPass : impl::SearchPlanBase<SearchPlanPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    layer::ModelOp model = *module.getOps<layer::ModelOp>().begin();
    plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
    OpBuilder builder(model);
    const bool isTrained = !(*module.getOps<layer::LossOp>().begin()).getType().empty();
    std::vector<BlockRow> rows;
    for (layer::BlockOp block : model.getBody().getOps<layer::BlockOp>()) {
      if (block.getLoss()) {
        continue;
      }
      int64_t parameters = 0;
      rows.push_back(rowOf(block, isTrained, parameters));
      const BlockRow &row = rows.back();
      ArrayRef<int64_t> output = cast<RankedTensorType>(block.getOutputs().front().getType()).getShape();
      plan::BlockOp::create(builder, madeBy("search-plan", block.getLoc()), block.getNameAttr(),
                            block.getTypeAttr(), builder.getDenseI64ArrayAttr(output),
                            builder.getI64IntegerAttr(parameters), builder.getF64FloatAttr(row.forwardFlops),
                            builder.getF64FloatAttr(row.gradientFlops));
    }
    Result<PlanChoice> choice =
        searchPlan(rows, {static_cast<int>(settings.getStages()),
                          static_cast<int>(settings.getMicroBatches()), settings.getSchedule().str(),
                          settings.getPartition().str(), settings.getStagesPlace().value_or("stages").str(),
                          settings.getPartitionPlace().value_or("partition").str()});
    if (!choice) {
      const Error &error = choice.error();
      emitError(NameLoc::get(builder.getStringAttr(error.place)), error.what).attachNote() << error.advice;
      return signalPassFailure();
    }
    plan::ChoiceOp::create(builder, madeBy("search-plan", model.getLoc()), choice->boundaries,
                           choice->explanation);
  }
};

} // namespace
} // namespace stagewright
