// What a stage's backward slices compute again instead of keeping it.
#ifndef STAGEWRIGHT_PASSES_DIFFERENTIATE_RECOMPUTE_H
#define STAGEWRIGHT_PASSES_DIFFERENTIATE_RECOMPUTE_H

#include "ir/layer/LayerDialect.h"
#include "ir/plan/PlanDialect.h"
#include "schedule/Recompute.h"

#include "llvm/ADT/SetVector.h"

namespace stagewright {

/// Lets the gradient ops of a joint graph, all behind its forward ops, read clones of forward ops in place of
/// what these have made. Each clone stands before the first op that needs it:
///
///     forward      x -> norm -> y -> linear -> z        y is not kept
///     backward     norm' (x) -> y' -> weight gradient of linear (y')
///
/// Returns the clones, which belong to the input-gradient slice: what the weight-gradient slice reads of them
/// is saved there, so that nothing is computed a third time.
llvm::SmallSetVector<mlir::Operation *, 16>
recompute(plan::StageOp stage, mlir::ArrayRef<mlir::Operation *> forward, const schedule::Recompute &policy);

} // namespace stagewright

#endif
