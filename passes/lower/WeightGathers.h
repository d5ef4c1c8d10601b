// Exchanges that gather weights in front of the commands that read them (ZeRO 3).
#ifndef STAGEWRIGHT_PASSES_LOWER_WEIGHTGATHERS_H
#define STAGEWRIGHT_PASSES_LOWER_WEIGHTGATHERS_H

#include "passes/lower/ExchangeWriter.h"
#include "passes/lower/RankSlices.h"
#include "passes/memory/FunctionBuffers.h"

#include <vector>

namespace stagewright {

/// Of one function, while its ops are lowered in order. Neighbouring gathers are one exchange.
class WeightGathers {
public:
  WeightGathers(plan::FunctionOp function, const RankSlices &slices, const FunctionBuffers &buffers,
                plan::LocalsOp locals, ExchangeWriter &writer);

  /// In front of the op's commands: it is a gather, or ends those whose values it reads.
  void lower(mlir::Operation &op);
  /// Ends what the function returns.
  void finish();

private:
  void begin(plan::GatherOp gather);
  void end(std::int64_t exchange);
  mlir::SmallVector<std::int64_t> piecesOf(plan::GatherOp gather) const;
  command::SliceAttr window(plan::GatherOp gather) const;

  const std::int64_t stage;
  const RankSlices &slices;
  const FunctionBuffers &buffers;
  plan::LocalsOp locals;
  ExchangeWriter &writer;
  llvm::MapVector<mlir::Value, std::int64_t> underWay; ///< gathered value -> exchange
};

} // namespace stagewright

#endif
