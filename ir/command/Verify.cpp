// Verifiers of the command dialect: what the loader of the .stage file will check, checked where it is made.
#include "ir/command/CommandDialect.h"

using namespace mlir;

namespace stagewright::command {

LogicalResult LaunchOp::verify() {
  const catalogue::Kernel *kernel = catalogue::find(getKernel(), static_cast<int>(getVersion()));
  if (!kernel) {
    return emitOpError("names kernel \"")
           << getKernel() << "\" version " << getVersion() << ", which the catalogue does not have";
  }
  std::vector<catalogue::DType> dtypes;
  std::vector<catalogue::Shape> shapes;
  for (SliceAttr slice : getSlices().getAsRange<SliceAttr>()) {
    std::optional<catalogue::DType> dtype = dtypeOf(slice.getType().getElementType());
    if (!dtype || !slice.getType().hasStaticShape()) {
      return emitOpError("has an operand of type ") << slice.getType() << ", which a file cannot hold";
    }
    dtypes.push_back(*dtype);
    shapes.emplace_back(slice.getType().getShape().begin(), slice.getType().getShape().end());
  }
  Result<void> checked = catalogue::check(*kernel, dtypes, shapes, catalogueAttributes(getSettings()));
  if (!checked) {
    return emitOpError("\"") << getKernel() << "\": " << checked.error().what;
  }
  return success();
}

LogicalResult CollectiveOp::verify() {
  if (getSegments().size() % 3 != 0) {
    return emitOpError("needs triples of rank, offset, bytes");
  }
  return success();
}

/// Slices and pools must lie inside the rank's arenas.
LogicalResult RankOp::verifyRegions() {
  SmallVector<int64_t> arenaBytes;
  SmallVector<PoolOp> pools;
  for (Operation &op : getBody().front()) {
    if (auto arena = dyn_cast<ArenaOp>(op)) {
      arenaBytes.push_back(arena.getBytes());
    } else if (auto pool = dyn_cast<PoolOp>(op)) {
      int64_t index = pool.getArena();
      if (index < 0 || index >= static_cast<int64_t>(arenaBytes.size()) ||
          pool.getOffset() + pool.getSlots() * pool.getSlotBytes() > arenaBytes[index]) {
        return pool.emitOpError("lies outside its arena");
      }
      pools.push_back(pool);
    }
  }
  WalkResult walked = getBody().walk([&](Operation *op) {
    SmallVector<SliceAttr> slices;
    if (auto launch = dyn_cast<LaunchOp>(op)) {
      llvm::append_range(slices, launch.getSlices().getAsRange<SliceAttr>());
    } else if (auto placement = dyn_cast<PlacementOp>(op)) {
      slices.push_back(placement.getSlice());
    } else if (auto scalar = dyn_cast<ScalarOp>(op)) {
      slices.push_back(scalar.getSlice());
    }
    for (SliceAttr slice : slices) {
      bool pooled = slice.getPool() >= 0;
      bool known = pooled
                       ? slice.getPool() < static_cast<int64_t>(pools.size())
                       : slice.getArena() >= 0 && slice.getArena() < static_cast<int64_t>(arenaBytes.size());
      int64_t room = !known   ? -1
                     : pooled ? pools[slice.getPool()].getSlotBytes()
                              : arenaBytes[slice.getArena()];
      if (slice.getOffset() < 0 || slice.getOffset() + byteSize(slice.getType()) > room) {
        op->emitOpError("has operand ") << slice << " outside its arena or slot";
        return WalkResult::interrupt();
      }
    }
    return WalkResult::advance();
  });
  return failure(walked.wasInterrupted());
}

} // namespace stagewright::command
