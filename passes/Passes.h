// Declarations and registration of all passes.
#ifndef STAGEWRIGHT_PASSES_PASSES_H
#define STAGEWRIGHT_PASSES_PASSES_H

#include "ir/command/CommandDialect.h"
#include "ir/layer/LayerDialect.h"
#include "ir/plan/PlanDialect.h"

#include "mlir/Pass/Pass.h"

namespace stagewright {

#define GEN_PASS_DECL
#include "generated-passes/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "generated-passes/Passes.h.inc"

} // namespace stagewright

#endif
