// What the replicas of a rank exchange: sums of gradients in the last W and in REDUCE, partial sums of the
// norm, weights that one of them has updated.
#ifndef STAGEWRIGHT_PASSES_LOWER_REPLICAEXCHANGES_H
#define STAGEWRIGHT_PASSES_LOWER_REPLICAEXCHANGES_H

#include "passes/lower/RankSlices.h"

#include "mlir/IR/Builders.h"

namespace stagewright {

/// Writes the exchanges of a stage behind the rank's programs, which exist. `scratch`: bytes of one that adds
/// up.
void writeReplicaExchanges(mlir::ModuleOp module, command::RankOp rank, plan::StageOp stage,
                           const RankSlices &slices, std::int64_t scratch, mlir::OpBuilder &builder);

} // namespace stagewright

#endif
