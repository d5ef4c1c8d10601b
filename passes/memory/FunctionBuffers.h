// Which values of a function share memory, which memory is the stage's (named values) and which is local to
// the call.
#ifndef STAGEWRIGHT_PASSES_MEMORY_FUNCTIONBUFFERS_H
#define STAGEWRIGHT_PASSES_MEMORY_FUNCTIONBUFFERS_H

#include "ir/layer/LayerDialect.h"
#include "ir/plan/PlanDialect.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"

#include <cstdint>
#include <vector>

namespace stagewright {

/// Buffers of one function. Requires materialized results.
class FunctionBuffers {
public:
  explicit FunctionBuffers(plan::FunctionOp function);

  /// A buffer of the call itself, live from op `begin` to op `end` (both included, counted in the body).
  struct Local {
    std::int64_t bytes = 0;
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };
  const std::vector<Local> &locals() const { return localBuffers; }

  /// The named value of the stage that holds this value, or null for a local one. An output is local: it
  /// lives to the end of the call.
  plan::ValueAttr named(mlir::Value value) const { return names.lookup(owner(value)); }
  /// Saved values of backward_input that it computes in the memory of saved values of forward that nobody
  /// reads again, as the gradient of logits in place of the logits: (what is written, what was there).
  using Overwritten = llvm::MapVector<plan::ValueAttr, plan::ValueAttr>;
  static Overwritten overwrittenIn(plan::StageOp stage);
  /// Index into locals(); requires named(value) to be null.
  std::int64_t local(mlir::Value value) const { return localIndex.lookup(owner(value)); }

private:
  mlir::Value owner(mlir::Value value) const;
  bool mayOverwrite(mlir::Operation *op, mlir::Value input, mlir::Value output) const;
  void shareInPlace(mlir::Operation *op, const llvm::DenseMap<mlir::Value, std::int64_t> &lastUse,
                    std::int64_t at);

  llvm::DenseMap<mlir::Value, plan::ValueAttr> names;  ///< by root
  llvm::DenseMap<mlir::Value, mlir::Value> sharedWith; ///< a root that lives in another root's memory
  Overwritten overwrites;
  llvm::DenseMap<mlir::Value, std::int64_t> localIndex;
  std::vector<Local> localBuffers;
};

/// Offsets for buffers that live at overlapping times, each a multiple of the kernels' alignment: first fit
/// in order of definition. `total` becomes the bytes needed.
std::vector<std::int64_t> placeLocals(const std::vector<FunctionBuffers::Local> &locals, std::int64_t &total);

} // namespace stagewright

#endif
