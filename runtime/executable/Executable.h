// A .stage file in memory, proved before anything is allocated: structure (FlatBuffers verifier, checksum,
// version) and meaning (every index in range, every operand inside its arena, kernels known, schedule
// complete and deadlock-free, slots never overwritten while live, both sides of every transfer agree). A file
// may have programs for several targets: all of them are proved, and one is chosen.
#ifndef STAGEWRIGHT_RUNTIME_EXECUTABLE_EXECUTABLE_H
#define STAGEWRIGHT_RUNTIME_EXECUTABLE_EXECUTABLE_H

#include "catalogue/Catalogue.h"
#include "catalogue/GradientWire.h"
#include "error/Error.h"
#include "runtime/executable/Mesh.h"
#include "schedule/Schedule.h"
#include "schema/stage_generated.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright::runtime {

/// Larger files are refused unread.
inline constexpr std::uint64_t kMaxExecutableBytes = std::uint64_t{1} << 30;

/// More replicas, or tensor ranks, are refused.
inline constexpr int kMaxReplicas = 256, kMaxTensorRanks = 256;

/// How many replicas divide the weights between them with ZeRO 3.
inline int shardGroup(const executable::Recipe &recipe) {
  return recipe.shard_group() > 0 ? recipe.shard_group() : recipe.data_parallel();
}

/// Inputs of a micro-batch that no data set fills (InputBinding.input of stage.fbs).
inline constexpr int kRowsInput = -1, kRandomInput = -2, kTensorRankInput = -3, kTensorRandomInput = -4;

/// What the values of an i32 input must be.
struct IntegerRule {
  std::int64_t limit = 0;              ///< in [0, limit); 0: no limit
  bool isMask = false;                 ///< 0 or 1
  bool isIndex = false;                ///< also a token or a mask: no value is ignored
  std::optional<std::int64_t> ignored; ///< or this: a label that does not count

  bool operator==(const IntegerRule &) const = default;
};

/// Chooses the first target of a file, whatever it is.
inline constexpr std::string_view kAnyTarget = "";

class Executable {
public:
  /// Reads and proves a file. Errors are ErrorKind::User, with place "PATH" or "PATH at FIELD". `wanted`: a
  /// family of devices ("host", "cuda": the file's first target of it), a target ("cuda:sm_90") or
  /// kAnyTarget; an error when the file has no programs for it.
  static Result<Executable> load(const std::string &path, std::string_view wanted = "host");

  /// The same for bytes in memory; `name` stands for the path in messages.
  static Result<Executable> fromBytes(std::vector<std::uint8_t> bytes, std::string name,
                                      std::string_view wanted = "host");

  Executable(Executable &&) = default;
  Executable &operator=(Executable &&) = default;

  const std::string &name() const { return path; }
  /// The bytes of the file.
  std::span<const std::uint8_t> contents() const { return bytes; }
  const executable::Executable &file() const { return *executable::GetExecutable(bytes.data()); }

  /// All targets of the file, and the chosen one.
  std::vector<std::string> targets() const;
  std::string target() const { return chosenVariant().target()->str(); }
  /// Chooses another one, as `load` does.
  Result<void> choose(std::string_view wanted);

  /// Plan of one pipeline rank for the chosen target, that of all its replicas.
  const executable::RankPlan &rank(int index) const { return *chosenVariant().ranks()->Get(index); }
  /// Pipeline ranks.
  int rankCount() const { return static_cast<int>(chosenVariant().ranks()->size()); }
  /// Of the job that trains.
  Mesh mesh() const {
    return {rankCount(), file().recipe()->data_parallel(), file().recipe()->tensor_parallel(),
            file().recipe()->servers()};
  }

  /// How many replicas divide the weights with ZeRO 3; what is one's, also those have that differ from it by
  /// a multiple.
  int shardGroup() const { return runtime::shardGroup(*file().recipe()); }

  const schedule::Schedule &trainSchedule() const { return train; }
  const schedule::Schedule &evaluateSchedule() const { return evaluate; }

  /// Indexed like file().inputs().
  const std::vector<IntegerRule> &integerRules() const { return rules[variant]; }

  /// False: the file is for evaluation alone.
  bool hasLoss() const;
  /// Names of the terms of a loss that is a weighted sum; empty: it is one.
  std::vector<std::string> lossTerms() const;

  /// Bytes of all arenas of a rank in a tier, each rounded up to whole pages, with what it has for parameter
  /// servers; all ranks of one role have as many.
  std::uint64_t plannedBytes(int rank, executable::MemoryTier tier = executable::MemoryTier::Device,
                             RankRole role = RankRole::Complete) const;

private:
  Executable() = default;
  const executable::Variant &chosenVariant() const { return *file().variants()->Get(variant); }

  std::string path;
  std::vector<std::uint8_t> bytes;
  unsigned variant = 0;
  schedule::Schedule train, evaluate;
  std::vector<std::vector<IntegerRule>> rules; ///< of each target
};

/// `bytes`, rounded up to pages of this machine.
std::uint64_t wholePages(std::uint64_t bytes);

/// Index into inputs of the label whose right answers evaluation counts; -1: it counts none.
int accuracyLabel(const executable::Executable &file);

/// How long the values of a pool live.
schedule::Lifetime lifetimeOf(const executable::SlotPool &pool);

/// Index of the rank's workspace arena, and of that for communication; -1: none.
int workspaceArena(const executable::RankPlan &plan);
int communicationArena(const executable::RankPlan &plan);

/// Whether replicas add up gradients, or bytes of the device come from another tier or go there.
inline bool addsUp(executable::ExchangeKind kind) {
  return kind == executable::ExchangeKind::Reduce || kind == executable::ExchangeKind::Accumulate;
}
inline bool movesOffloaded(executable::ExchangeKind kind) {
  return kind == executable::ExchangeKind::Load || kind == executable::ExchangeKind::Store;
}

/// Bytes of an exchange's scratch: what the others contribute to the pieces of the replica that has most, and
/// behind it all pieces as they are sent, where that is not in fp32. Zeros: it adds up nothing.
struct ExchangeScratch {
  std::uint64_t contributed = 0, sent = 0;
};
ExchangeScratch scratchOf(const executable::Exchange &exchange, int replicas,
                          const catalogue::GradientWire &wire);

/// In what the gradients of replicas travel.
catalogue::GradientWire gradientWire(const executable::ResultContract &contract);
/// The bytes that a piece of gradients takes then.
inline std::uint64_t wireBytes(const executable::ExchangePiece &piece, const catalogue::GradientWire &wire) {
  return static_cast<std::uint64_t>(wire.bytes(static_cast<std::int64_t>(piece.bytes() / 4)));
}

/// Of a proved operand.
std::uint64_t bytesOf(const executable::Operand &operand);

/// Whether it is what compression of gradients has not sent yet, which each replica has for itself:
/// "residual" of a parameter's first use, "residual.1" of the next one.
bool isResidual(const executable::StateSlice &state);

/// "[64, 784]".
std::string shapeText(std::span<const std::int64_t> shape);

/// The attributes of a proved command, for the catalogue. Of an unproved one: those before the first that has
/// not exactly one value.
std::vector<catalogue::Attribute> attributesOf(const executable::Command &command);

} // namespace stagewright::runtime

#endif
