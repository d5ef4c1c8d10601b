// What must hold behind each phase. IR may also come from a file (--resume-from), so these checks are all
// that later passes rely on; each names the phases in which it is in force.
#ifndef STAGEWRIGHT_PASSES_PHASECHECKS_H
#define STAGEWRIGHT_PASSES_PHASECHECKS_H

#include "passes/Passes.h"
#include "passes/Pipeline.h"

#include "mlir/Transforms/DialectConversion.h"
#include "llvm/ADT/StringMap.h"

namespace stagewright {

/// All that must hold of a module that has been through this phase: what the phase ensures, and what earlier
/// ones have ensured and still holds.
mlir::LogicalResult phaseHolds(mlir::ModuleOp module, Phase phase);

// The parts, each in the file of its phase.
mlir::LogicalResult importHolds(mlir::ModuleOp module);        ///< import to search: the model is whole
mlir::LogicalResult precisionHolds(mlir::ModuleOp module);     ///< from precision
mlir::LogicalResult searchHolds(mlir::ModuleOp module);        ///< from search
mlir::LogicalResult partitionHolds(mlir::ModuleOp module);     ///< partition to memory: there are stages
mlir::LogicalResult modelFunctionsHold(mlir::ModuleOp module); ///< partition
mlir::LogicalResult differentiateHolds(mlir::ModuleOp module); ///< differentiate to memory
mlir::LogicalResult parallelHolds(mlir::ModuleOp module);      ///< parallel to memory
mlir::LogicalResult scheduleHolds(mlir::ModuleOp module);      ///< from schedule
mlir::LogicalResult executablesHold(mlir::ModuleOp module);    ///< from memory
mlir::LogicalResult memoryHolds(mlir::ModuleOp module);        ///< memory
mlir::LogicalResult lowerHolds(mlir::ModuleOp module);         ///< lower

// ---- What they share ------------------------------------------------------------------------------------

/// The op of this type, of which there is one.
template <typename Op>
Op theOne(mlir::ModuleOp module) {
  return *module.getOps<Op>().begin();
}

/// Types of the values of one role in a function's arguments or results, by name.
llvm::StringMap<mlir::Type> typesOf(plan::FunctionOp function, plan::Role role, bool results);

/// Calls visit(name, type) for every argument and every result.
void forEachValue(plan::FunctionOp function,
                  llvm::function_ref<void(plan::ValueAttr name, mlir::Value value)> visit);

/// What one stage sends in functions of this kind is what the next receives.
mlir::LogicalResult checkChain(mlir::ModuleOp module, plan::FunctionKind kind);

/// Type of a micro-batch of the input: that of "rows", "random" and "tensor_rank" has no samples.
mlir::RankedTensorType microBatchOf(layer::InputOp input, int64_t microBatchSize);

/// An op of the layer dialect that computes: no declaration, no structure.
bool isComputation(mlir::Operation *op);

} // namespace stagewright

#endif
