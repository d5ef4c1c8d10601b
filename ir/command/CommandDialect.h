// The command dialect's C++ face.
#ifndef STAGEWRIGHT_IR_COMMAND_COMMANDDIALECT_H
#define STAGEWRIGHT_IR_COMMAND_COMMANDDIALECT_H

#include "catalogue/Catalogue.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"

#include <optional>

#include "generated/command/CommandDialect.h.inc"
#define GET_ATTRDEF_CLASSES
#include "generated/command/CommandAttributes.h.inc"
#define GET_OP_CLASSES
#include "generated/command/CommandOps.h.inc"

namespace stagewright::command {

/// The catalogue's element type, or nothing for a type that files cannot hold.
std::optional<catalogue::DType> dtypeOf(mlir::Type elementType);

/// True for a tensor within limits (ir/Limits.h) whose elements a file can hold.
bool isStorable(mlir::Type type);

/// Bytes of a storable tensor.
int64_t byteSize(mlir::RankedTensorType type);

/// The attributes of a launch as the catalogue takes them: 64-bit integers, fp64 numbers, texts and lists of
/// 64-bit integers. Failure for one of another kind.
mlir::FailureOr<std::vector<catalogue::Attribute>> catalogueAttributes(mlir::DictionaryAttr attributes);

} // namespace stagewright::command

#endif
