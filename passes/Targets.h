// Several targets: from the phase partition on, each has a module of its own.
#ifndef STAGEWRIGHT_PASSES_TARGETS_H
#define STAGEWRIGHT_PASSES_TARGETS_H

#include "passes/Pipeline.h"

#include "mlir/IR/BuiltinOps.h"

namespace stagewright {

/// Runs the phases from `first` to `last` on the module, for each of its targets on a copy where that
/// matters; then the module is that of all targets. Several targets must not stop between partition and
/// memory.
///
///     import .. search        one module, whose settings name all targets
///     partition .. lower      a clone of it for each target
///     lower                   the first target's module with the command.executable of every target
mlir::LogicalResult runPhases(mlir::ModuleOp module, Phase first, Phase last);

/// Whether several targets may stop after this phase.
bool isForAllTargets(Phase phase);

} // namespace stagewright

#endif
