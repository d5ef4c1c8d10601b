// What the checks of a .stage file share. Internal to the loader.
#ifndef STAGEWRIGHT_RUNTIME_EXECUTABLE_PROOF_H
#define STAGEWRIGHT_RUNTIME_EXECUTABLE_PROOF_H

#include "catalogue/Catalogue.h"
#include "error/Error.h"
#include "runtime/executable/Executable.h"
#include "schedule/Schedule.h"
#include "schema/stage_generated.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright::runtime {

/// The largest tensor, in bytes, that the checks let through: far above any machine, far below overflow.
inline constexpr std::uint64_t kMaxTensorBytes = catalogue::kMaxArenaBytes;

/// State of one proof. Checks run in the order of the functions below, from verifyMemory on for each variant;
/// each relies on what the earlier ones proved.
struct Proof {
  const std::string &name;
  const executable::Executable &file;
  const executable::Variant *variant = nullptr;
  schedule::Schedule train, evaluate;
  std::vector<schedule::Tie> ties;       ///< of the parameters that several stages hold, ascending
  std::vector<IntegerRule> integerRules; ///< per model input

  Error fail(const std::string &field, std::string what,
             std::string advice = "compile the model again") const {
    return userError(name + " at " + field, std::move(what), std::move(advice));
  }
  int stages() const { return file.schedule()->stages(); }
  int microBatches() const { return file.recipe()->micro_batches(); }
  /// Whether each replica updates a part of the parameters (ZeRO).
  bool shards() const {
    return file.recipe()->servers() > 0 ||
           (file.recipe()->zero() > 0 && (file.recipe()->data_parallel() > 1 || offloads()));
  }
  bool offloads() const { return file.recipe()->states_offload() || file.recipe()->weights_offload(); }
  /// And holds a part of them only (ZeRO 3).
  bool shardsWeights() const {
    return file.recipe()->zero() == 3 &&
           (file.recipe()->data_parallel() > 1 || file.recipe()->weights_offload());
  }
  /// Groups of replicas have all weights, each replica those of the ones that have its number in other
  /// groups.
  bool repeatsShards() const {
    return shardsWeights() && shardGroup(*file.recipe()) < file.recipe()->data_parallel();
  }
  bool hasShardOf(int replica, int other) const {
    return (replica - other) % shardGroup(*file.recipe()) == 0;
  }
  /// GATHER shares updated weights.
  bool sharesWeights() const {
    return file.recipe()->data_parallel() > 1 && shards() && (!shardsWeights() || repeatsShards());
  }
  /// Replicas add up the gradients of each micro-batch, and perhaps keep a part of the sums only.
  bool reducesMicroBatches() const {
    return file.contract()->gradient_reduction()->str() == "micro_batch" &&
           file.recipe()->data_parallel() > 1;
  }
  /// In what the gradients of replicas travel.
  catalogue::GradientWire wire() const { return gradientWire(*file.contract()); }
  bool shardsGradients() const { return reducesMicroBatches() && file.recipe()->zero() >= 2; }
  int tensorRanks() const { return file.recipe()->tensor_parallel(); }
  /// Replicas, or servers in their place, that each have parts of what is divided.
  int updaters() const {
    return file.recipe()->servers() > 0 ? file.recipe()->servers() : file.recipe()->data_parallel();
  }
  bool hasUpdater(int replica) const { return replica >= 0 && replica < updaters(); }
  bool owns(int rank, int stage) const {
    return stage >= 0 && stage < stages() && train.rankOfStage[stage] == rank;
  }
  /// Whether a stage of the rank owns the parameter or holds a copy.
  bool holds(int rank, const executable::Parameter &parameter) const {
    bool found = owns(rank, parameter.stage());
    for (unsigned i = 0; parameter.holders() && i < parameter.holders()->size(); ++i) {
      found = found || owns(rank, parameter.holders()->Get(i));
    }
    return found;
  }
};

/// One range of bytes of an arena.
struct Range {
  std::uint64_t begin = 0, end = 0;
  bool overlaps(const Range &other) const { return begin < other.end && other.begin < end; }
};

/// [offset, offset + bytes), or nothing when that does not fit into `limit`.
inline std::optional<Range> rangeWithin(std::uint64_t offset, std::uint64_t bytes, std::uint64_t limit) {
  if (offset > limit || bytes > limit - offset) {
    return std::nullopt;
  }
  return Range{offset, offset + bytes};
}

/// "a[3]".
inline std::string indexed(const std::string &field, std::size_t index) {
  return field + "[" + std::to_string(index) + "]";
}

/// Elements of a shape whose dimensions are all positive, or nothing when one is not or kMaxTensorBytes is
/// exceeded. A missing vector is a scalar.
std::optional<std::uint64_t> elementsOf(const flatbuffers::Vector<std::int64_t> *shape);
/// The same in bytes; nothing also when the dtype is unknown.
std::optional<std::uint64_t> bytesOf(executable::DType dtype, const flatbuffers::Vector<std::int64_t> *shape);
std::string shapeText(const flatbuffers::Vector<std::int64_t> *shape);

/// What an optimizer keeps of every parameter beside the gradient (and SGD's momentum_buffer, which its
/// programs call for); nothing for an unknown optimizer.
std::optional<std::vector<std::string>> optimizerStates(const std::string &optimizer);
/// Those with betas (all that average gradients), and those of them whose programs read bias_corrections.
bool hasBetas(const std::string &optimizer);
bool correctsBias(const std::string &optimizer);

/// Whether there is such an arena, in the device's memory.
inline bool isInDevice(const executable::RankPlan &plan, unsigned arena) {
  return arena < plan.arenas()->size() && plan.arenas()->Get(arena)->tier() == executable::MemoryTier::Device;
}

/// Null: the rank has none of this name.
const executable::Scalar *findScalar(const executable::RankPlan &plan, std::string_view name);

/// Position of a task within the life of one micro-batch: RECV_F, F, SEND_F, RECV_B, I, SEND_B, W, then the
/// tasks at the step's end. Backward and Prepare have none (-1).
int moment(executable::TaskKind kind);
/// The moment at which a program runs; -1 for programs that run once per step.
int moment(executable::ProgramKind kind);

Result<void> verifyModel(const Proof &proof);  // inputs, blocks, parameters, recipe, contract, boundaries
Result<void> verifySchedules(Proof &proof);    // fills train and evaluate
Result<void> verifyMemory(const Proof &proof); // arenas, pools and their slots, inputs, placements, scalars
Result<void> verifyPrograms(Proof &proof);     // kernels, commands, operands; fills integerRules
Result<void> verifyTransfers(const Proof &proof);   // transfers of both sides, collectives
Result<void> verifyServers(const Proof &proof);     // parameter servers: arenas that ranks have
Result<void> verifyReplicas(const Proof &proof);    // what replicas add up, and which of them updates what
Result<void> verifyTensorRanks(const Proof &proof); // what tensor ranks add up

} // namespace stagewright::runtime

#endif
