// Writes a lowered module as the bytes of a .stage file.
#ifndef STAGEWRIGHT_PASSES_EMIT_EMITEXECUTABLE_H
#define STAGEWRIGHT_PASSES_EMIT_EMITEXECUTABLE_H

#include "error/Error.h"

#include "mlir/IR/BuiltinOps.h"

#include <cstdint>
#include <vector>

namespace stagewright {

/// Requires a module that has been through phase "lower". The bytes depend on the module alone.
Result<std::vector<std::uint8_t>> emitExecutable(mlir::ModuleOp module);

} // namespace stagewright

#endif
