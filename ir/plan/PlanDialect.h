// The plan dialect's C++ face.
#ifndef STAGEWRIGHT_IR_PLAN_PLANDIALECT_H
#define STAGEWRIGHT_IR_PLAN_PLANDIALECT_H

#include "catalogue/GradientWire.h"
#include "schedule/Schedule.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/Hashing.h"

namespace stagewright::schedule {
inline llvm::hash_code hash_value(const Task &task) {
  return llvm::hash_combine(static_cast<int>(task.kind), task.stage, task.microBatch);
}
} // namespace stagewright::schedule

#include "generated/plan/PlanDialect.h.inc"
#include "generated/plan/PlanEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "generated/plan/PlanAttributes.h.inc"
#define GET_OP_CLASSES
#include "generated/plan/PlanOps.h.inc"

namespace stagewright::plan {

/// The function of this kind, or null.
FunctionOp findFunction(StageOp stage, FunctionKind kind);

} // namespace stagewright::plan

#endif
