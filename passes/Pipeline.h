// The phases of the compiler and their order.
#ifndef STAGEWRIGHT_PASSES_PIPELINE_H
#define STAGEWRIGHT_PASSES_PIPELINE_H

#include "mlir/Pass/PassManager.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright {

enum class Phase { Import, Precision, Search, Partition, Differentiate, Parallel, Schedule, Memory, Lower };

/// Names as --compile-to takes them, in order.
const std::vector<std::string> &phaseNames();
std::optional<Phase> phaseNamed(std::string_view name);

/// Adds the pass that verifies a phase.
void addVerification(mlir::OpPassManager &manager, Phase phase);

/// Adds the passes of one phase, and the one that verifies it.
void addPhase(mlir::OpPassManager &manager, Phase phase);

/// The last phase that this module has been through, by the ops it holds; none for a module that is not ours.
std::optional<Phase> phaseOf(mlir::ModuleOp module);

/// Registers one pipeline per phase ("phase-import", ...) for stagewright-opt.
void registerPhasePipelines();

} // namespace stagewright

#endif
