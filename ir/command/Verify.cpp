// Verifiers of the command dialect: what the loader of the .stage file will check, checked where it is made.
#include "ir/command/CommandDialect.h"

#include "schedule/TaskTable.h"

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
  FailureOr<std::vector<catalogue::Attribute>> attributes = catalogueAttributes(getSettings());
  if (failed(attributes)) {
    return emitOpError("has settings ")
           << getSettings() << ", of which one is neither i64, f64, a text nor a list of i64";
  }
  if (attributes->size() != kernel->attributes.size()) {
    return emitOpError("has ") << attributes->size() << " settings, but \"" << getKernel() << "\" takes "
                               << kernel->attributes.size();
  }
  Result<void> checked = catalogue::check(*kernel, dtypes, shapes, *attributes);
  if (!checked) {
    return emitOpError("\"") << getKernel() << "\": " << checked.error().what;
  }
  return success();
}

LogicalResult ExchangeOp::verify() {
  return !getPieces().empty() && getPieces().size() % 6 == 0
             ? LogicalResult(success())
             : emitOpError("needs pieces: replica, arena, offset, bytes, arena and offset of the shard");
}

LogicalResult CollectiveOp::verify() {
  if (getSegments().size() % 3 != 0) {
    return emitOpError("needs triples of rank, offset, bytes");
  }
  return success();
}

namespace {

/// Arenas and pools of a rank, and what lies inside them.
struct RankMemory {
  SmallVector<int64_t> arenaBytes;
  SmallVector<PoolOp> pools;

  bool hasArena(int64_t arena) const { return arena >= 0 && arena < static_cast<int64_t>(arenaBytes.size()); }
  bool hasPool(int64_t pool) const { return pool >= 0 && pool < static_cast<int64_t>(pools.size()); }

  bool holds(PoolOp pool) {
    int64_t size = 0, end = 0;
    return hasArena(pool.getArena()) && pool.getOffset() >= 0 && pool.getSlots() > 0 &&
           pool.getSlots() <= schedule::kMaxMicroBatches && pool.getSlotBytes() >= 0 &&
           !__builtin_mul_overflow(pool.getSlots(), pool.getSlotBytes(), &size) &&
           !__builtin_add_overflow(pool.getOffset(), size, &end) && end <= arenaBytes[pool.getArena()];
  }
  bool holds(TransferOp transfer) {
    if (!transfer.getArena()) {
      return hasPool(transfer.getPool());
    }
    return transfer.getPool() == -1 && hasArena(*transfer.getArena()) && transfer.getOffset() >= 0 &&
           transfer.getBytes() >= 0 &&
           transfer.getOffset() <= arenaBytes[*transfer.getArena()] - transfer.getBytes();
  }
  bool holds(SliceAttr slice) {
    bool pooled = slice.getPool() >= 0;
    if (!isStorable(slice.getType()) || !(pooled ? hasPool(slice.getPool()) : hasArena(slice.getArena()))) {
      return false;
    }
    int64_t room = pooled ? pools[slice.getPool()].getSlotBytes() : arenaBytes[slice.getArena()];
    return slice.getOffset() >= 0 && slice.getOffset() <= room - byteSize(slice.getType());
  }
};

bool isTask(int64_t kind) {
  return kind >= 0 && kind <= schedule::kTaskKinds - 1;
}

} // namespace

/// Slices and pools must lie inside the rank's arenas.
LogicalResult RankOp::verifyRegions() {
  RankMemory memory;
  for (Operation &op : getBody().front()) {
    if (auto arena = dyn_cast<ArenaOp>(op)) {
      if (arena.getBytes() < 0 || arena.getBytes() > catalogue::kMaxArenaBytes) {
        return arena.emitOpError("has an impossible size");
      }
      memory.arenaBytes.push_back(arena.getBytes());
    } else if (auto pool = dyn_cast<PoolOp>(op)) {
      if (!memory.holds(pool)) {
        return pool.emitOpError("lies outside its arena");
      }
      if (!isTask(pool.getFirst()) || !isTask(pool.getLast())) {
        return pool.emitOpError("lives between tasks that do not exist");
      }
      memory.pools.push_back(pool);
    }
  }
  WalkResult walked = getBody().walk([&](Operation *op) {
    SmallVector<SliceAttr> slices;
    bool known = true;
    if (auto launch = dyn_cast<LaunchOp>(op)) {
      llvm::append_range(slices, launch.getSlices().getAsRange<SliceAttr>());
    } else if (auto placement = dyn_cast<PlacementOp>(op)) {
      slices.push_back(placement.getSlice());
    } else if (auto buffer = dyn_cast<BufferOp>(op)) {
      slices.push_back(buffer.getSlice());
    } else if (auto output = dyn_cast<OutputOp>(op)) {
      slices.push_back(output.getSlice());
    } else if (auto scalar = dyn_cast<ScalarOp>(op)) {
      slices.push_back(scalar.getSlice());
    } else if (auto transfer = dyn_cast<TransferOp>(op)) {
      known = memory.holds(transfer) && isTask(transfer.getTask());
    } else if (auto input = dyn_cast<InputOp>(op)) {
      known = memory.hasPool(input.getPool());
    } else if (auto reduction = dyn_cast<ReductionOp>(op)) {
      slices.push_back(reduction.getSlice());
    } else if (auto gather = dyn_cast<ReplicaGatherOp>(op)) {
      slices.push_back(gather.getSlice());
    } else if (auto collective = dyn_cast<CollectiveOp>(op)) {
      known = memory.hasArena(collective.getArena());
    }
    for (SliceAttr slice : slices) {
      if (!memory.holds(slice)) {
        op->emitOpError("has operand ") << slice << " outside its arena or slot";
        return WalkResult::interrupt();
      }
    }
    if (!known) {
      op->emitOpError("names a pool, an arena or a task that the rank does not have");
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return failure(walked.wasInterrupted());
}

} // namespace stagewright::command
