// Who made an op: locations that name the block of the model and the pass.
#ifndef STAGEWRIGHT_PASSES_PROVENANCE_H
#define STAGEWRIGHT_PASSES_PROVENANCE_H

#include "mlir/IR/Location.h"
#include "llvm/ADT/StringRef.h"

namespace stagewright {

/// `from`, marked as the work of a pass: loc(fused<"pass">[from]).
mlir::Location madeBy(llvm::StringRef pass, mlir::Location from);

/// The name of the model's block that the location goes back to; empty if it goes back to none. The front end
/// gives the ops of block "fc1" the location loc("fc1"(file:line:column)).
llvm::StringRef blockName(mlir::Location location);

} // namespace stagewright

#endif
