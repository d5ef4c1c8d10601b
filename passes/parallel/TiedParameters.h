// Parameters that several stages use: read off the gradient sums of the stages' functions.
#ifndef STAGEWRIGHT_PASSES_PARALLEL_TIEDPARAMETERS_H
#define STAGEWRIGHT_PASSES_PARALLEL_TIEDPARAMETERS_H

#include "ir/plan/PlanDialect.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"

#include <string>
#include <vector>

namespace stagewright {

/// One gradient sum, of one use of a parameter, on the stage of that use.
struct GradientSum {
  plan::StageOp stage;
  plan::ValueAttr name; ///< "parameter" of the first use, "parameter/use" of a further one
  mlir::RankedTensorType type;
  mlir::Operation *last; ///< op of `backward_weight` that completes it
  /// What compression has not sent of it.
  plan::ValueAttr residual() const {
    return plan::ValueAttr::get(name.getContext(), plan::Role::Residual, name.getName());
  }
  bool isFirst() const { return name.parameterAndState().second.empty(); }
  std::int64_t use() const {
    std::int64_t number = 0;
    name.parameterAndState().second.getAsInteger(10, number);
    return number;
  }
};

/// The sums of every parameter, in the order of their uses, which is that of the stages. Requires functions
/// `backward_weight`.
llvm::MapVector<mlir::StringRef, std::vector<GradientSum>> gradientSums(mlir::ModuleOp module);

/// The stage that owns the parameter, that of its first use, and the other stages that use it, ascending.
struct TiedParameter {
  mlir::StringRef name;
  std::int64_t owner = 0;
  std::vector<GradientSum> elsewhere; ///< sums of other stages
  std::vector<std::int64_t> holders() const;
};
/// Parameters with uses on several stages.
std::vector<TiedParameter> tiedParameters(mlir::ModuleOp module);

/// The ties of their stages, each once, ascending.
std::vector<schedule::Tie> tiesOf(mlir::ModuleOp module);

} // namespace stagewright

#endif
