// How an op meets its catalogue entry: operands in the entry's order, results that overwrite operands,
// attributes by name.
#ifndef STAGEWRIGHT_IR_LAYER_KERNELRULES_H
#define STAGEWRIGHT_IR_LAYER_KERNELRULES_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Operation.h"

namespace stagewright::catalogue {
struct Kernel;
}

namespace stagewright::layer {

/// The catalogue's entry of an op; null when there is none.
const catalogue::Kernel *kernelOf(mlir::Operation *op);

/// Values in the order of the entry's operands: what the entry reads (or updates) are the op's operands in
/// order, what it only writes are results. Absent optional operands, which are the last ones, are left out.
llvm::SmallVector<mlir::Value> kernelOperands(mlir::Operation *op);

/// Index of the operand that this result overwrites, or -1. Results are in the order of what the entry writes
/// or updates.
int tiedOperand(mlir::Operation *op, unsigned result);

/// Whether all operands have the element type of `like`.
bool haveElementsOf(llvm::ArrayRef<mlir::OpOperand *> operands, mlir::Value like);

/// The attributes that are the entry's.
mlir::DictionaryAttr kernelAttributes(mlir::Operation *op);

/// Counts, shapes, element types and attributes against the entry.
mlir::LogicalResult verifyKernel(mlir::Operation *op);

} // namespace stagewright::layer

#endif
