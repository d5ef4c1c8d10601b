#include "passes/lower/RankSlices.h"

using namespace mlir;

namespace stagewright {

using plan::Role;

RankSlices::RankSlices(ModuleOp module, command::RankOp rank)
    : settings(*module.getOps<plan::SettingsOp>().begin()), shards(module) {
  for (plan::PlacementOp placement : rank.getBody().getOps<plan::PlacementOp>()) {
    (placement.getOffloaded() ? offloaded : places)[{placement.getStage(), placement.getValue()}] = placement;
  }
  for (command::ScalarOp scalar : rank.getBody().getOps<command::ScalarOp>()) {
    cells[scalar.getName()] = scalar.getSlice();
  }
}

command::SliceAttr RankSlices::slice(int64_t stage, plan::ValueAttr name, RankedTensorType type) const {
  if (name.getRole() == Role::Scalar || name.getRole() == Role::Shared) {
    command::SliceAttr cell = cells.lookup(name.getName());
    return command::SliceAttr::get(type.getContext(), cell.getArena(), -1, cell.getOffset(), type);
  }
  plan::PlacementOp place = places.lookup({stage, name});
  return command::SliceAttr::get(type.getContext(), place.getArena(), place.getPool(), place.getOffset(),
                                 type);
}

ArrayRef<RankSlices::Piece> RankSlices::ownedPieces(int64_t stage, plan::ValueAttr name) const {
  return plan::SettingsOp(settings).shards() ? pieces(stage, name) : ArrayRef<Piece>();
}

command::SliceAttr RankSlices::sliceOfPiece(int64_t stage, plan::ValueAttr name, RankedTensorType type,
                                            const Piece &piece) const {
  int64_t first = isSharded(stage, name) ? shards.offsetOf(stage, name, piece) : piece.first;
  int64_t elements = piece.elements;
  if (name.getRole() == Role::Shared) {
    first = piece.first / catalogue::kGranule;
    elements = catalogue::granules(piece.elements);
  }
  command::SliceAttr whole = slice(stage, name, type);
  if (isOffloaded(stage, name, piece)) {
    plan::PlacementOp place = offloaded.lookup({stage, name});
    whole = command::SliceAttr::get(type.getContext(), place.getArena(), -1, place.getOffset(), type);
  }
  auto part = RankedTensorType::get({elements}, type.getElementType());
  int64_t width = type.getElementTypeBitWidth() / 8;
  return command::SliceAttr::get(type.getContext(), whole.getArena(), -1, whole.getOffset() + width * first,
                                 part);
}

std::optional<command::SliceAttr> RankSlices::cell(StringRef name) const {
  auto found = cells.find(name);
  return found == cells.end() ? std::nullopt : std::optional(found->second);
}

} // namespace stagewright
