// Cuts a stage's joint graph into functions. What a slice takes from an earlier one becomes a result there.
#ifndef STAGEWRIGHT_PASSES_DIFFERENTIATE_STAGESLICER_H
#define STAGEWRIGHT_PASSES_DIFFERENTIATE_STAGESLICER_H

#include "ir/layer/LayerDialect.h"
#include "ir/plan/PlanDialect.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"

namespace stagewright {

struct SliceResult {
  plan::ValueAttr name;
  mlir::Value value; ///< of the joint graph
};

/// Slices are made from the last to the first: backward_weight, backward_input, forward; evaluation apart.
class StageSlicer {
public:
  /// `argumentNames`: the joint graph's block arguments. `leaving`: values that the stage sends; a later
  /// slice that reads one reads the send buffer.
  StageSlicer(plan::StageOp stage, const llvm::DenseMap<mlir::Value, plan::ValueAttr> &argumentNames,
              mlir::ArrayRef<SliceResult> leaving)
      : stage(stage), builder(stage.getContext()), argumentNames(argumentNames) {
    for (const SliceResult &result : leaving) {
      leavingNames.try_emplace(result.value, result.name);
    }
  }

  /// Builds a function from those of `ops` on which `results`, or values saved for slices built before,
  /// depend.
  void slice(plan::FunctionKind kind, mlir::ArrayRef<mlir::Operation *> ops,
             mlir::ArrayRef<SliceResult> results);

  /// The same without saved values.
  void sliceEvaluation(mlir::ArrayRef<mlir::Operation *> ops, mlir::ArrayRef<SliceResult> results);

private:
  void build(plan::FunctionKind kind, mlir::ArrayRef<mlir::Operation *> ops,
             mlir::ArrayRef<SliceResult> results);
  plan::ValueAttr saved(mlir::Value value);

  plan::StageOp stage;
  mlir::OpBuilder builder;
  const llvm::DenseMap<mlir::Value, plan::ValueAttr> &argumentNames;
  llvm::DenseMap<mlir::Value, plan::ValueAttr> leavingNames;
  llvm::MapVector<mlir::Value, plan::ValueAttr> savedValues;
  llvm::StringSet<> savedNames;
};

} // namespace stagewright

#endif
