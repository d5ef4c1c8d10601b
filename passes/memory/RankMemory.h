// Packs one rank's values into arenas and slot pools, and writes the result as IR.
#ifndef STAGEWRIGHT_PASSES_MEMORY_RANKMEMORY_H
#define STAGEWRIGHT_PASSES_MEMORY_RANKMEMORY_H

#include "ir/command/CommandDialect.h"
#include "ir/plan/PlanDialect.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

#include <array>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace stagewright {

/// The arenas of a rank, in file order. Those that stay empty are not written.
enum class ArenaKind {
  Parameters,
  Gradients,
  Residuals,
  OptimizerState,
  OffloadedParameters,
  OffloadedState,
  Buffers,
  Derived,
  Activations,
  Inputs,
  Workspace,
  Scalars,
  Shared,
  Communication,
  Windows
};
inline constexpr int kArenaKinds = 15;

//   activations: [pool s0.saved.F-I: slot 0 | slot 1 | ...][pool s0.send-F: slot 0 | ...] ...
//   a slot:      [value | value | ...], each value at a multiple of 64 bytes
class RankMemory {
public:
  /// Numbers of the file's MemoryTier: where what is offloaded lies.
  struct Tiers {
    std::int64_t weights = 0, states = 0;
  };
  /// `target`: what workspace the kernels need depends on it.
  RankMemory(std::string target, Tiers tiers) : target(std::move(target)), tiers(tiers) {}

  /// A value that lives through the whole run: parameters, gradients, states, buffers, derived values.
  void placeFixed(std::int64_t stage, plan::ValueAttr name, mlir::RankedTensorType type);

  //   element of the shard   0 ... stayEnd           the class's arena
  //                                leaveBegin ... leaveEnd    the offloaded one; a piece lies in one of them
  struct ShardExtent {
    std::int64_t stayEnd = 0, leaveBegin = 0, leaveEnd = 0;
  };
  /// A value of which a replica holds a part only: all of one role, and of one state, lie in the stage's
  /// shard of fp32 values, where its pieces say.
  void placeSharded(std::int64_t stage, plan::ValueAttr name, ShardExtent extent);

  /// A value with one instance per micro-batch in flight. Pools are told apart by name.
  void placePooled(std::int64_t stage, plan::ValueAttr name, mlir::RankedTensorType type,
                   const std::string &pool, const schedule::Lifetime &lifetime, ArenaKind arena);
  /// A value in the memory of another one of the stage, which has its place.
  void placeOver(std::int64_t stage, plan::ValueAttr name, plan::ValueAttr other);
  /// Counts the slots of the pools placed since the last call and lays them out.
  void closePools(const schedule::Schedule &training, const schedule::Schedule &evaluation);

  /// Local buffers and kernel workspace of a function; calls take turns, so all functions share the bytes.
  void placeLocals(std::int64_t stage, plan::FunctionOp function);

  /// Contributions of other replicas to exchanges of gradients.
  void placeScratch(std::int64_t bytes) { reserve(ArenaKind::Communication, bytes, 1); }
  /// Chunks of what is offloaded.
  void placeWindows(std::int64_t bytes) { reserve(ArenaKind::Windows, bytes, 1); }

  void placeScalar(llvm::StringRef name, mlir::RankedTensorType type);
  void placeShared(llvm::StringRef name, mlir::RankedTensorType type, std::int64_t alignment);
  /// Element k of the shared vector `name` as the value that micro-batch k's F writes.
  void placePerMicroBatch(std::int64_t stage, llvm::StringRef name, mlir::RankedTensorType type,
                          std::int64_t microBatches);
  /// "partials" as a whole: the last `granules` fp64 values placed.
  void closeShared(std::int64_t granules, mlir::RankedTensorType type);

  /// True when an arena would exceed catalogue::kMaxArenaBytes.
  bool isTooLarge() const { return tooLarge; }

  /// Writes arenas, pools, placements, scalars and locals at the builder's place.
  void write(mlir::OpBuilder &builder, mlir::Location location) const;

private:
  struct Pool {
    std::string name;
    ArenaKind arena;
    schedule::Lifetime lifetime;
    std::int64_t slotBytes = 0, offset = 0, slots = 0;
    std::vector<std::int64_t> training, evaluation;
  };
  struct Placement {
    std::int64_t stage;
    plan::ValueAttr name;
    ArenaKind arena;
    std::int64_t pool, offset;
    bool offloaded = false;
  };
  struct Cell {
    std::string name;
    mlir::RankedTensorType type;
    ArenaKind arena;
    std::int64_t offset;
  };
  struct Locals {
    std::int64_t stage;
    plan::FunctionKind kind;
    std::vector<std::int64_t> offsets;
    std::int64_t workspace;
  };

  std::int64_t reserve(ArenaKind arena, std::int64_t bytes, std::int64_t alignment);

  std::string target;
  Tiers tiers;
  bool tooLarge = false;
  std::array<std::int64_t, kArenaKinds> bytes{};
  std::vector<Pool> pools;
  std::size_t openPools = 0; ///< first pool not yet laid out
  std::vector<Placement> placements;
  std::map<std::tuple<std::int64_t, ArenaKind, std::string>, std::int64_t> shards; ///< offsets
  std::vector<Cell> cells;
  std::vector<Locals> locals;
};

} // namespace stagewright

#endif
