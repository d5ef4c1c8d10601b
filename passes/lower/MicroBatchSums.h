// Exchanges that add up the gradients of one micro-batch over the replicas.
#ifndef STAGEWRIGHT_PASSES_LOWER_MICROBATCHSUMS_H
#define STAGEWRIGHT_PASSES_LOWER_MICROBATCHSUMS_H

#include "passes/lower/RankSlices.h"
#include "passes/memory/FunctionBuffers.h"

#include "mlir/IR/Builders.h"

namespace stagewright {

/// Of one function, while its ops are lowered in order. A block's gradients travel in parts, two at a time.
class MicroBatchSums {
public:
  MicroBatchSums(mlir::ModuleOp module, command::RankOp rank, plan::FunctionOp function,
                 const RankSlices &slices, const FunctionBuffers &buffers, plan::LocalsOp locals,
                 mlir::OpBuilder &program);

  /// If it is a plan.reduce or a plan.await.
  void lower(mlir::Operation &op);

private:
  void point(std::int64_t exchange, bool begins);

  mlir::ModuleOp module;
  command::RankOp rank;
  const std::int64_t stage;
  const RankSlices &slices;
  const FunctionBuffers &buffers;
  plan::LocalsOp locals;
  mlir::OpBuilder &program;
  std::int64_t first = 0, end = 0; ///< exchanges of the block that is under way
};

} // namespace stagewright

#endif
