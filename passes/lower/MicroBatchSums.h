// Exchanges that add up the gradients of one micro-batch over the replicas.
#ifndef STAGEWRIGHT_PASSES_LOWER_MICROBATCHSUMS_H
#define STAGEWRIGHT_PASSES_LOWER_MICROBATCHSUMS_H

#include "passes/lower/ExchangeWriter.h"
#include "passes/lower/RankSlices.h"
#include "passes/memory/FunctionBuffers.h"

namespace stagewright {

/// Of one function, while its ops are lowered in order. A block's gradients travel in parts, two at a time.
class MicroBatchSums {
public:
  /// `scratch`: bytes of an exchange of the rank.
  MicroBatchSums(plan::FunctionOp function, std::int64_t scratch, const RankSlices &slices,
                 const FunctionBuffers &buffers, plan::LocalsOp locals, ExchangeWriter &writer);

  /// If it is a plan.reduce or a plan.await.
  void lower(mlir::Operation &op);

private:
  const std::int64_t stage, scratch;
  const RankSlices &slices;
  const FunctionBuffers &buffers;
  plan::LocalsOp locals;
  ExchangeWriter &writer;
  std::int64_t first = 0, end = 0; ///< exchanges of the block that is under way
};

} // namespace stagewright

#endif
