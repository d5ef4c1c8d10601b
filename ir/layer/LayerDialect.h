// The layer dialect's C++ face.
#ifndef STAGEWRIGHT_IR_LAYER_LAYERDIALECT_H
#define STAGEWRIGHT_IR_LAYER_LAYERDIALECT_H

#include "ir/Limits.h"
#include "ir/layer/GradientBuilder.h"
#include "ir/layer/KernelRules.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "generated/layer/LayerDialect.h.inc"
#include "generated/layer/LayerInterfaces.h.inc"
#define GET_OP_CLASSES
#include "generated/layer/LayerOps.h.inc"

namespace stagewright::layer {

/// The first operand behind any chain of views.
mlir::Value stripViews(mlir::Value value);

/// The parameter's value of which this is a further use, or the value itself.
mlir::Value withoutUse(mlir::Value value);

/// The value whose memory this one is: behind views and results that overwrite an operand.
mlir::Value memoryRoot(mlir::Value value);

/// Elements of a value of static tensor type.
int64_t elementCount(mlir::Value value);
/// The same as a factor of a cost.
inline double elementsOf(mlir::Value value) {
  return static_cast<double>(elementCount(value));
}

/// Shape of a value as the catalogue writes it.
std::vector<int64_t> shapeOf(mlir::Type type);

} // namespace stagewright::layer

#endif
