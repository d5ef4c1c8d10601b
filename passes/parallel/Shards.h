// How the replicas divide the trained parameters, as plan.shard ops say it, and what follows for the
// schedule.
#ifndef STAGEWRIGHT_PASSES_PARALLEL_SHARDS_H
#define STAGEWRIGHT_PASSES_PARALLEL_SHARDS_H

#include "ir/plan/PlanDialect.h"
#include "schedule/Schedule.h"
#include "schedule/Shards.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

#include <map>
#include <optional>
#include <vector>

namespace stagewright {

class ShardTable {
public:
  explicit ShardTable(mlir::ModuleOp module);

  /// Pieces of a parameter, with their places in the stage's shard, or, where it has none of its own, in that
  /// of the owner; `parameter` of a piece is not set. Empty: it is not divided.
  llvm::ArrayRef<schedule::ShardPiece> pieces(std::int64_t stage, llvm::StringRef parameter) const;
  /// Of the parameter that a value belongs to; empty: of another value.
  llvm::ArrayRef<schedule::ShardPiece> pieces(std::int64_t stage, plan::ValueAttr name) const;

  /// The element of the stage's shards on values like this one where a piece begins. Of weights that groups
  /// of replicas divide, a replica holds the shards of those that have its number in the other groups, with
  /// room for the largest of each group:
  ///
  ///     4 replicas, groups of 2    replicas 0, 2   | shard of 0 | shard of 2 |
  ///                                replicas 1, 3   | shard of 1 | shard of 3 |
  std::int64_t offsetOf(std::int64_t stage, plan::ValueAttr name, const schedule::ShardPiece &piece) const;

  /// Whether a replica holds only its shard of the value.
  bool isSharded(std::int64_t stage, plan::ValueAttr name) const;

  /// From which element of the stage's shards on values like this one are offloaded; none: nowhere.
  std::optional<std::int64_t> offloadedFrom(std::int64_t stage, plan::ValueAttr name) const;
  /// Whether a piece of such a value is.
  bool isOffloaded(std::int64_t stage, plan::ValueAttr name, const schedule::ShardPiece &piece) const {
    std::optional<std::int64_t> from = offloadedFrom(stage, name);
    return from && piece.offset >= *from;
  }

private:
  plan::SettingsOp settings;
  llvm::StringMap<std::map<std::int64_t, std::vector<schedule::ShardPiece>>>
      shards; ///< by stage, the owner's first
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t>
      largest; ///< shard, elements, by stage and group of replicas
  std::map<std::pair<std::int64_t, plan::Role>, std::int64_t> offloaded; ///< by stage
};

/// What the tasks at the step's end exchange. Requires functions `backward_weight`.
schedule::StepExchanges exchangesOf(mlir::ModuleOp module);

} // namespace stagewright

#endif
