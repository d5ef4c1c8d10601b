// Where the values of a rank's stages lie, as the memory plan says: whole, or a replica's piece of them.
#ifndef STAGEWRIGHT_PASSES_LOWER_RANKSLICES_H
#define STAGEWRIGHT_PASSES_LOWER_RANKSLICES_H

#include "ir/command/CommandDialect.h"
#include "ir/plan/PlanDialect.h"
#include "passes/parallel/Shards.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"

#include <optional>

namespace stagewright {

class RankSlices {
public:
  using Piece = schedule::ShardPiece;

  RankSlices(mlir::ModuleOp module, command::RankOp rank);

  /// In what gradients travel between the replicas of the pipeline, and how many there are (data parallel).
  catalogue::GradientWire gradientWire() const { return plan::SettingsOp(settings).gradientWire(); }
  std::int64_t replicas() const { return plan::SettingsOp(settings).getDataParallel(); }

  command::SliceAttr slice(std::int64_t stage, plan::ValueAttr name, mlir::RankedTensorType type) const;

  /// Pieces of the parameter that the value belongs to, of each of which one replica adds up the gradients;
  /// none: of another value, or with one replica.
  llvm::ArrayRef<Piece> pieces(std::int64_t stage, plan::ValueAttr name) const {
    return shards.pieces(stage, name);
  }
  /// Those that one replica alone has, or updates (ZeRO).
  llvm::ArrayRef<Piece> ownedPieces(std::int64_t stage, plan::ValueAttr name) const;
  /// Whether a replica holds only its shard of the value.
  bool isSharded(std::int64_t stage, plan::ValueAttr name) const { return shards.isSharded(stage, name); }

  /// The bytes of a piece: of a value of a parameter, or of its partial sums of the norm.
  command::SliceAttr sliceOfPiece(std::int64_t stage, plan::ValueAttr name, mlir::RankedTensorType type,
                                  const Piece &piece) const;

  /// A named cell of scalars or of what ranks share.
  std::optional<command::SliceAttr> cell(llvm::StringRef name) const;

  /// Whether a piece of a value lies outside the device's memory.
  bool isOffloaded(std::int64_t stage, plan::ValueAttr name, const Piece &piece) const {
    return name && shards.isOffloaded(stage, name, piece);
  }

  /// By stage and value; `offloaded` are the second places of values in shards.
  llvm::MapVector<std::pair<std::int64_t, plan::ValueAttr>, plan::PlacementOp> places, offloaded;

private:
  plan::SettingsOp settings;
  ShardTable shards;
  llvm::StringMap<command::SliceAttr> cells;
};

} // namespace stagewright

#endif
