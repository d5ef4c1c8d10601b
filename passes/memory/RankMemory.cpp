#include "passes/memory/RankMemory.h"

#include "passes/memory/FunctionBuffers.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace stagewright {
namespace {

using plan::Role;

constexpr std::array<const char *, kArenaKinds> kArenaNames = {"parameters",
                                                               "gradients",
                                                               "residuals",
                                                               "optimizer_state",
                                                               "offloaded_parameters",
                                                               "offloaded_optimizer_state",
                                                               "buffers",
                                                               "derived",
                                                               "activations",
                                                               "inputs",
                                                               "workspace",
                                                               "scalars",
                                                               "shared",
                                                               "communication",
                                                               "windows"};
// Numbers of the file's ArenaClass. What ranks share counts as scalars.
constexpr std::array<int64_t, kArenaKinds> kArenaClasses = {0, 1, 11, 2, 0, 2, 8, 3, 4, 5, 6, 7, 7, 9, 10};

int64_t aligned(int64_t bytes, int64_t alignment = catalogue::kAlignment) {
  return static_cast<int64_t>(llvm::alignTo(bytes, alignment));
}

ArenaKind arenaOf(Role role) {
  switch (role) {
  case Role::Parameter:
    return ArenaKind::Parameters;
  case Role::Accumulator:
    return ArenaKind::Gradients;
  case Role::Residual:
    return ArenaKind::Residuals;
  case Role::State:
    return ArenaKind::OptimizerState;
  case Role::Buffer:
    return ArenaKind::Buffers;
  default:
    return ArenaKind::Derived;
  }
}

} // namespace

int64_t RankMemory::reserve(ArenaKind arena, int64_t size, int64_t alignment) {
  int64_t &end = bytes[static_cast<size_t>(arena)];
  int64_t offset = aligned(end, alignment);
  if (size < 0 || size > catalogue::kMaxArenaBytes - offset) {
    tooLarge = true;
    return 0;
  }
  end = offset + size;
  return offset;
}

void RankMemory::placeFixed(int64_t stage, plan::ValueAttr name, RankedTensorType type) {
  ArenaKind arena = arenaOf(name.getRole());
  placements.push_back(
      {stage, name, arena, -1, reserve(arena, aligned(command::byteSize(type)), catalogue::kAlignment)});
}

void RankMemory::placeSharded(int64_t stage, plan::ValueAttr name, ShardExtent extent) {
  ArenaKind kind = arenaOf(name.getRole());
  ArenaKind other =
      kind == ArenaKind::Parameters ? ArenaKind::OffloadedParameters : ArenaKind::OffloadedState;
  auto place = [&](ArenaKind arena, int64_t first, int64_t end) {
    auto [shard, isNew] = shards.try_emplace({stage, arena, name.parameterAndState().second.str()}, 0);
    if (isNew) { // where element 0 would lie
      shard->second = reserve(arena, 4 * (end - first), catalogue::kAlignment) - 4 * first;
    }
    placements.push_back({stage, name, arena, -1, shard->second, arena == other});
  };
  place(kind, 0, extent.stayEnd);
  if (extent.leaveEnd > 0) {
    place(other, extent.leaveBegin, extent.leaveEnd);
  }
}

void RankMemory::placePooled(int64_t stage, plan::ValueAttr name, RankedTensorType type,
                             const std::string &pool, const schedule::Lifetime &lifetime, ArenaKind arena) {
  auto found = llvm::find_if(pools, [&](const Pool &known) { return known.name == pool; });
  if (found == pools.end()) {
    pools.push_back({pool, arena, lifetime});
    found = std::prev(pools.end());
  }
  placements.push_back({stage, name, arena, found - pools.begin(), found->slotBytes});
  found->slotBytes =
      std::min(found->slotBytes + aligned(command::byteSize(type)), 2 * catalogue::kMaxArenaBytes);
}

void RankMemory::placeOver(std::int64_t stage, plan::ValueAttr name, plan::ValueAttr other) {
  auto found = llvm::find_if(
      placements, [&](const Placement &known) { return known.stage == stage && known.name == other; });
  Placement placement = *found;
  placement.name = name;
  placements.push_back(placement);
}

void RankMemory::closePools(const schedule::Schedule &training, const schedule::Schedule &evaluation) {
  for (; openPools < pools.size(); ++openPools) {
    Pool &pool = pools[openPools];
    schedule::SlotAssignment train = schedule::assignSlots(training, pool.lifetime);
    schedule::SlotAssignment evaluate = schedule::assignSlots(evaluation, pool.lifetime);
    pool.slots = std::max(train.slots, evaluate.slots);
    pool.training.assign(train.slotOf.begin(), train.slotOf.end());
    pool.evaluation.assign(evaluate.slotOf.begin(), evaluate.slotOf.end());
    int64_t size = 0; // what does not fit into 63 bits is no size
    bool fits = !__builtin_mul_overflow(pool.slots, pool.slotBytes, &size);
    pool.offset = reserve(pool.arena, fits ? size : -1, catalogue::kAlignment);
  }
}

void RankMemory::placeLocals(int64_t stage, plan::FunctionOp function) {
  FunctionBuffers buffers(function);
  int64_t total = 0, workspace = 0;
  std::vector<int64_t> offsets = stagewright::placeLocals(buffers.locals(), total);
  for (Operation &op : function.getBody().front()) {
    const catalogue::Kernel *entry = layer::kernelOf(&op);
    if (entry && entry->workspaceBytes) {
      std::vector<catalogue::Shape> shapes;
      for (Value operand : layer::kernelOperands(&op)) {
        shapes.push_back(layer::shapeOf(operand.getType()));
      }
      workspace = std::max(workspace, static_cast<int64_t>(entry->workspaceBytes(shapes, target)));
    }
  }
  int64_t &end = bytes[static_cast<size_t>(ArenaKind::Workspace)];
  end = std::max(end, total + aligned(workspace));
  tooLarge = tooLarge || end > catalogue::kMaxArenaBytes;
  locals.push_back({stage, function.getKind(), std::move(offsets), total});
}

void RankMemory::placeScalar(StringRef name, RankedTensorType type) {
  cells.push_back({name.str(), type, ArenaKind::Scalars,
                   reserve(ArenaKind::Scalars, aligned(command::byteSize(type)), catalogue::kAlignment)});
}

void RankMemory::placeShared(StringRef name, RankedTensorType type, int64_t alignment) {
  cells.push_back(
      {name.str(), type, ArenaKind::Shared, reserve(ArenaKind::Shared, command::byteSize(type), alignment)});
}

void RankMemory::placePerMicroBatch(int64_t stage, StringRef name, RankedTensorType type,
                                    int64_t microBatches) {
  MLIRContext *context = type.getContext();
  Pool pool{"s" + std::to_string(stage) + "." + name.str(),
            ArenaKind::Shared,
            {static_cast<int>(stage), schedule::TaskKind::Forward, schedule::TaskKind::AllGather, false}};
  pool.slotBytes = command::byteSize(type) / microBatches;
  pool.slots = microBatches;
  pool.offset = cells.back().offset;
  for (int64_t k = 0; k < microBatches; ++k) { // dense, so that the vector can be read as one
    pool.training.push_back(k);
  }
  pool.evaluation = pool.training;
  Role role = name == "losses" ? Role::Loss : Role::Correct;
  placements.push_back({stage, plan::ValueAttr::get(context, role, name), ArenaKind::Shared,
                        static_cast<int64_t>(pools.size()), 0});
  pools.push_back(std::move(pool));
  openPools = pools.size();
}

void RankMemory::closeShared(int64_t granules, RankedTensorType type) {
  int64_t &end = bytes[static_cast<size_t>(ArenaKind::Shared)];
  if (granules > 0) {
    cells.push_back({"partials", type, ArenaKind::Shared, end - granules * 8});
  }
  end = aligned(end);
}

void RankMemory::write(OpBuilder &builder, Location location) const {
  std::array<int64_t, kArenaKinds> index{};
  int64_t written = 0;
  for (int kind = 0; kind < kArenaKinds; ++kind) {
    if (bytes[kind] > 0) {
      index[kind] = written++;
      auto arena = static_cast<ArenaKind>(kind);
      int64_t tier = arena == ArenaKind::OffloadedParameters ? tiers.weights
                     : arena == ArenaKind::OffloadedState    ? tiers.states
                                                             : 0;
      command::ArenaOp::create(builder, location, kArenaNames[kind], kArenaClasses[kind],
                               aligned(bytes[kind]), tier);
    }
  }
  auto arena = [&](ArenaKind kind) { return index[static_cast<size_t>(kind)]; };
  for (const Pool &pool : pools) {
    command::PoolOp::create(builder, location, pool.name, arena(pool.arena), pool.offset, pool.slotBytes,
                            pool.slots, pool.lifetime.stage, static_cast<int64_t>(pool.lifetime.first),
                            static_cast<int64_t>(pool.lifetime.last), pool.lifetime.sent, pool.training,
                            pool.evaluation);
  }
  for (const Placement &placement : placements) {
    plan::PlacementOp::create(builder, location, placement.stage, placement.name, arena(placement.arena),
                              placement.pool, placement.offset, placement.offloaded);
  }
  for (const Cell &cell : cells) {
    auto slice = command::SliceAttr::get(builder.getContext(), arena(cell.arena), -1, cell.offset, cell.type);
    command::ScalarOp::create(builder, location, cell.name, slice);
  }
  for (const Locals &entry : locals) {
    plan::LocalsOp::create(builder, location, entry.stage, entry.kind, arena(ArenaKind::Workspace),
                           entry.offsets, entry.workspace);
  }
}

} // namespace stagewright
