// How the replicas divide the trained parameters (ZeRO), as plan.shard ops say it, and what follows for the
// schedule.
#ifndef STAGEWRIGHT_PASSES_PARALLEL_SHARDS_H
#define STAGEWRIGHT_PASSES_PARALLEL_SHARDS_H

#include "ir/plan/PlanDialect.h"
#include "schedule/Schedule.h"
#include "schedule/Shards.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

#include <vector>

namespace stagewright {

/// Pieces of the parameters that are divided; `parameter` of a piece is not set. Empty: nothing is.
llvm::StringMap<std::vector<schedule::ShardPiece>> shardsOf(mlir::ModuleOp module);

/// What the tasks at the step's end exchange. Requires functions `backward_weight`.
schedule::StepExchanges exchangesOf(mlir::ModuleOp module);

} // namespace stagewright

#endif
