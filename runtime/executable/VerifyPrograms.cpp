// Programs: every command is one call of a known kernel on operands that lie inside their arenas and may be
// there.
#include "runtime/executable/Executable.h"
#include "runtime/executable/Proof.h"

#include <algorithm>
#include <map>

namespace stagewright::runtime {

namespace {

/// An operand that has been placed: bytes relative to its arena, or to the slot of its pool.
struct Placed {
  unsigned arena = 0;
  int pool = -1;
  Range range;
};

/// The checks of one rank's programs.
class RankPrograms {
public:
  RankPrograms(Proof &proof, int rank)
      : proof(proof), rank(rank), plan(*proof.variant->ranks()->Get(rank)), at(indexed("ranks", rank) + ".") {
  }

  Result<void> run();

private:
  Result<void> present();
  Result<void> command(const executable::Program &program, const executable::Command &command,
                       const std::string &field);
  Result<void> catalogueRules(const executable::Command &command, const std::string &field);
  Result<Placed> place(const executable::Program &program, const executable::Operand &operand,
                       catalogue::Access access, const std::string &field) const;
  Result<void> aliasing(const executable::Command &command, const std::string &field) const;
  Result<void> filledByInput(const executable::Command &command, std::size_t index, const std::string &field);
  std::int64_t sizeOf(std::string_view operand, std::size_t dimension) const;
  std::int64_t numbered(const executable::Command &command) const;
  Result<void> collective(const executable::Program &program, const executable::Command &command,
                          const std::string &field) const;
  Result<void> workspace(const executable::Command &command, const std::string &field) const;
  Result<void> buffers(const executable::Program &program, std::size_t index, const std::string &field) const;

  bool overlapsPool(const Placed &fixed) const;

  Proof &proof;
  const int rank;
  const executable::RankPlan &plan;
  const std::string at;
  // Of the command at hand:
  const catalogue::Kernel *kernel = nullptr;
  std::vector<catalogue::Shape> shapes;
  std::vector<Placed> placed;
};

Result<void> RankPrograms::run() {
  if (auto ok = present(); !ok) {
    return ok;
  }
  for (unsigned i = 0; i < plan.programs()->size(); ++i) {
    const executable::Program &program = *plan.programs()->Get(i);
    for (unsigned j = 0; j < program.commands()->size(); ++j) {
      const std::string field = indexed(indexed(at + "programs", i) + ".commands", j);
      if (auto ok = command(program, *program.commands()->Get(j), field); !ok) {
        return ok;
      }
    }
  }
  return {};
}

/// Each stage of the rank has each program exactly once.
Result<void> RankPrograms::present() {
  std::map<std::pair<int, executable::ProgramKind>, int> count;
  for (unsigned i = 0; i < plan.programs()->size(); ++i) {
    const executable::Program &program = *plan.programs()->Get(i);
    const std::string field = indexed(at + "programs", i);
    if (!proof.owns(rank, program.stage()) || program.kind() > executable::ProgramKind::MAX) {
      return proof.fail(field + ".stage", "the program is of no kind or for a stage of another rank");
    }
    if (++count[{program.stage(), program.kind()}] > 1) {
      return proof.fail(field, "a second program of its kind for stage " + std::to_string(program.stage()));
    }
  }
  for (int stage = 0; stage < proof.stages(); ++stage) {
    for (const executable::ProgramKind kind : executable::EnumValuesProgramKind()) {
      if (proof.owns(rank, stage) && !count.count({stage, kind})) {
        return proof.fail(at + "programs", std::string("stage ") + std::to_string(stage) +
                                               " has no program " + executable::EnumNameProgramKind(kind));
      }
    }
  }
  return {};
}

Result<void> RankPrograms::command(const executable::Program &program, const executable::Command &command,
                                   const std::string &field) {
  if (command.kernel() >= proof.file.kernels()->size()) {
    return proof.fail(field + ".kernel", "there is no kernel " + std::to_string(command.kernel()));
  }
  const executable::KernelRef &reference = *proof.file.kernels()->Get(command.kernel());
  if (reference.kind() && reference.kind()->size() && reference.kind()->str() != "library") {
    return proof.fail(indexed("kernels", command.kernel()) + ".kind",
                      "this version runs library kernels only, not \"" + reference.kind()->str() + "\"",
                      "use a newer stagewright, or compile the model again with this one");
  }
  kernel = catalogue::find(reference.name()->str(), reference.version());
  if (!kernel) {
    return userError(proof.name + " at " + indexed("kernels", command.kernel()),
                     "this program has no kernel \"" + reference.name()->str() + "\" version " +
                         std::to_string(reference.version()),
                     "use a newer stagewright, or compile the model again with this one");
  }
  if (const std::string target = proof.variant->target()->str(); !catalogue::existsOn(*kernel, target)) {
    return proof.fail(field + ".kernel", "\"" + reference.name()->str() + "\" version " +
                                             std::to_string(reference.version()) +
                                             " does not run on the target " + target);
  }
  if (command.block() < -1 || command.block() >= static_cast<int>(proof.file.blocks()->size())) {
    return proof.fail(field + ".block", "there is no block " + std::to_string(command.block()));
  }
  if (auto ok = catalogueRules(command, field); !ok) {
    return ok;
  }
  if (auto ok = collective(program, command, field); !ok) {
    return ok;
  }
  placed.clear();
  for (unsigned i = 0; i < command.operands()->size(); ++i) {
    auto result = place(program, *command.operands()->Get(i), kernel->operands[i].access,
                        indexed(field + ".operands", i));
    if (!result) {
      return result.takeError();
    }
    placed.push_back(*result);
    if (auto ok = filledByInput(command, i, indexed(field + ".operands", i)); !ok) {
      return ok;
    }
    if (auto ok = buffers(program, i, indexed(field + ".operands", i)); !ok) {
      return ok;
    }
  }
  if (auto ok = aliasing(command, field); !ok) {
    return ok;
  }
  return workspace(command, field);
}

/// Operand count, dtypes, shapes and attributes against the catalogue.
Result<void> RankPrograms::catalogueRules(const executable::Command &command, const std::string &field) {
  std::vector<catalogue::DType> dtypes;
  shapes.clear();
  for (unsigned i = 0; i < command.operands()->size(); ++i) {
    const executable::Operand &operand = *command.operands()->Get(i);
    if (!bytesOf(operand.dtype(), operand.shape())) {
      return proof.fail(indexed(field + ".operands", i),
                        "impossible dtype or shape " + shapeText(operand.shape()));
    }
    dtypes.push_back(static_cast<catalogue::DType>(operand.dtype()));
    shapes.emplace_back(operand.shape()->begin(), operand.shape()->end());
  }
  const std::vector<catalogue::Attribute> attributes = attributesOf(command);
  if (command.attributes() && attributes.size() < command.attributes()->size()) {
    return proof.fail(indexed(field + ".attributes", attributes.size()),
                      "an attribute has exactly one value");
  }
  if (auto ok = catalogue::check(*kernel, dtypes, shapes, attributes); !ok) {
    return proof.fail(field, "call of " + std::string(kernel->name) + ": " + ok.error().text());
  }
  return {};
}

/// All ranks of a group run one plan: each of them calls it. Evaluation has the ranks of one replica.
Result<void> RankPrograms::collective(const executable::Program &program, const executable::Command &command,
                                      const std::string &field) const {
  if (!kernel->isCollective) {
    return {};
  }
  const bool ofReplicas = catalogue::stringAttribute(*kernel, attributesOf(command), "axis") == "data";
  const int ranks = ofReplicas ? proof.file.recipe()->data_parallel() : proof.tensorRanks();
  const bool evaluates = program.kind() == executable::ProgramKind::Evaluate;
  if (ranks == 1 || command.replica() != -1 || moment(program.kind()) < 0 || (evaluates && ofReplicas)) {
    return proof.fail(field, std::string(kernel->name) + " is not called by all ranks of a group of several");
  }
  return kernel->name == "all_gather" && shapes[1][0] != ranks
             ? proof.fail(field, "all_gather makes " + std::to_string(shapes[1][0]) + " parts of " +
                                     std::to_string(ranks) + " ranks")
             : Result<void>();
}

bool RankPrograms::overlapsPool(const Placed &fixed) const {
  return std::any_of(plan.pools()->begin(), plan.pools()->end(), [&](const executable::SlotPool *pool) {
    return pool->arena() == fixed.arena &&
           Range{pool->offset(), pool->offset() + pool->slots() * pool->slot_bytes()}.overlaps(fixed.range);
  });
}

/// Where the operand is. A value of a pool must be alive when the program runs; fixed memory that programs of
/// micro-batches touch is none of a pool's, and programs of the step's end only read pools (the losses).
Result<Placed> RankPrograms::place(const executable::Program &program, const executable::Operand &operand,
                                   catalogue::Access access, const std::string &field) const {
  const std::uint64_t bytes = *bytesOf(operand.dtype(), operand.shape());
  const std::uint64_t unit = catalogue::byteSize(static_cast<catalogue::DType>(operand.dtype()));
  // fp64 partials, counts and the losses of micro-batches are packed without gaps; all else is read 64 bytes
  // at a time.
  const bool isPacked = bytes == unit || unit == 8 || kernel->name == "append_loss";
  const std::uint64_t alignment = isPacked ? unit : catalogue::kAlignment;
  const int now = moment(program.kind());
  if (!isInDevice(plan, operand.arena())) {
    return proof.fail(field + ".arena",
                      "the device's memory has no arena " + std::to_string(operand.arena()));
  }
  Placed result{operand.arena(), operand.pool(), {}};
  if (operand.pool() < 0) {
    result.pool = -1;
    const auto range = rangeWithin(operand.offset(), bytes, plan.arenas()->Get(operand.arena())->bytes());
    if (!range) {
      return proof.fail(field + ".offset", "the operand does not lie inside its arena");
    }
    result.range = *range;
    if (operand.offset() % alignment) {
      return proof.fail(field + ".offset", "the operand is not aligned");
    }
    if ((now >= 0 || access != catalogue::Access::Read) && overlapsPool(result)) {
      return proof.fail(field + ".offset", "the operand overlaps a pool");
    }
    return result;
  }
  if (operand.pool() >= static_cast<int>(plan.pools()->size())) {
    return proof.fail(field + ".pool", "there is no pool " + std::to_string(operand.pool()));
  }
  const executable::SlotPool &pool = *plan.pools()->Get(operand.pool());
  if (pool.arena() != operand.arena()) {
    return proof.fail(field + ".arena", "the pool lies in another arena");
  }
  if (pool.stage() != program.stage() || now < moment(pool.first()) || now > moment(pool.last())) {
    return proof.fail(field + ".pool",
                      "pool \"" + pool.name()->str() + "\" is not alive when the program runs");
  }
  const auto range = rangeWithin(operand.offset(), bytes, pool.slot_bytes());
  if (!range) {
    return proof.fail(field + ".offset", "the operand does not lie inside its slot");
  }
  if (operand.offset() % alignment || pool.offset() % alignment || pool.slot_bytes() % alignment) {
    return proof.fail(field + ".offset", "the operand is not aligned");
  }
  result.range = *range;
  if (access != catalogue::Access::Read) {
    for (const executable::InputBinding *binding : *plan.inputs()) {
      const auto dtype =
          binding->input() < 0 ? executable::DType::I32 : proof.file.inputs()->Get(binding->input())->dtype();
      const Range filled{binding->offset(), binding->offset() + *bytesOf(dtype, binding->shape())};
      if (binding->pool() == operand.pool() && filled.overlaps(result.range)) {
        return proof.fail(field, "the command overwrites a model input");
      }
    }
  }
  return result;
}

/// Memory that a command writes is no other operand's, in-place pairs excepted.
Result<void> RankPrograms::aliasing(const executable::Command &, const std::string &field) const {
  for (std::size_t i = 0; i < placed.size(); ++i) {
    if (kernel->operands[i].access == catalogue::Access::Read) {
      continue;
    }
    for (std::size_t j = 0; j < placed.size(); ++j) {
      const Placed &written = placed[i], &other = placed[j];
      if (i == j || written.arena != other.arena || written.pool != other.pool ||
          !written.range.overlaps(other.range)) {
        continue;
      }
      const bool inPlace =
          written.range.begin == other.range.begin && written.range.end == other.range.end &&
          std::any_of(kernel->inPlace.begin(), kernel->inPlace.end(),
                      [&](const catalogue::InPlacePair &pair) {
                        return pair.output == static_cast<int>(i) && pair.input == static_cast<int>(j);
                      });
      if (!inPlace) {
        return proof.fail(indexed(field + ".operands", i), "the operand that " + std::string(kernel->name) +
                                                               " writes shares bytes with operand " +
                                                               std::to_string(j));
      }
    }
  }
  return {};
}

/// Tokens, class labels, masks and row counts are indices and limits: only the data source, which checks
/// them, may write them. A token numbers a row of a table, a label a column of logits, a mask is 0 or 1. What
/// random numbers are drawn by is not written either, as a gradient draws those of the forward program again;
/// those that round weights come from the scalar.
Result<void> RankPrograms::filledByInput(const executable::Command &command, std::size_t index,
                                         const std::string &field) {
  const std::string_view name = kernel->operands[index].name;
  const bool labels = name == "labels", tokens = name == "ids", rows = name == "valid_rows",
             random = name == "random", part = name == "tensor_rank",
             mask = name == "mask" || name == "key_mask";
  if (name == "rounding") {
    const executable::Scalar *scalar = findScalar(plan, name);
    const Placed &operand = placed[index];
    return scalar && operand.pool < 0 && operand.arena == scalar->arena() &&
                   operand.range.begin == scalar->offset()
               ? Result<void>()
               : proof.fail(field, "operand \"rounding\" is not the scalar of this name");
  }
  if (!labels && !tokens && !rows && !random && !part && !mask) {
    return {};
  }
  for (const executable::InputBinding *binding : *plan.inputs()) {
    const bool sameBytes =
        binding->pool() == placed[index].pool && binding->offset() == placed[index].range.begin;
    const int input = binding->input();
    const bool fits = rows   ? input == kRowsInput
                      : part ? input == kTensorRankInput
                      : random
                          ? input == kRandomInput || input == kTensorRandomInput
                          : input >= 0 && proof.file.inputs()->Get(input)->dtype() == executable::DType::I32;
    if (!sameBytes || !fits) {
      continue;
    }
    if (labels || tokens || mask) {
      const std::uint64_t filled = *elementsOf(binding->shape());
      const std::int64_t classes = mask ? 2 : numbered(command);
      if (filled != static_cast<std::uint64_t>(catalogue::elements(shapes[index])) || classes == 0) {
        return proof.fail(field, "the input and the operand differ in size");
      }
      IntegerRule &rule = proof.integerRules[binding->input()];
      rule.limit = rule.limit ? std::min(rule.limit, classes) : classes;
      rule.isMask |= mask;
      rule.isIndex |= mask || tokens;
      if (kernel->name == "softmax_cross_entropy" || kernel->name == "vocabulary_cross_entropy") {
        rule.ignored = catalogue::integerAttribute(*kernel, attributesOf(command), "ignore_index");
      }
    }
    return {};
  }
  return proof.fail(field, "operand \"" + std::string(name) + "\" is not a model input");
}

/// What tokens or labels number: rows or columns, those of all tensor ranks where this is the part of one.
std::int64_t RankPrograms::numbered(const executable::Command &command) const {
  if (kernel->name == "vocabulary_cross_entropy") {
    return catalogue::integerAttribute(*kernel, attributesOf(command), "vocabulary");
  }
  const char *table = kernel->name == "embedding"        ? "weight"
                      : kernel->name == "embedding_grad" ? "acc"
                                                         : nullptr;
  return (table ? sizeOf(table, 0) : sizeOf("logits", 1)) *
         (sizeOf("tensor_rank", 0) > 0 ? proof.tensorRanks() : 1);
}

/// Of the operand of this name; 0 where there is none.
std::int64_t RankPrograms::sizeOf(std::string_view operand, std::size_t dimension) const {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (kernel->operands[i].name == operand && dimension < shapes[i].size()) {
      return shapes[i][dimension];
    }
  }
  return 0;
}

/// Between a forward and its backward program other micro-batches update a buffer, and evaluation changes
/// nothing.
Result<void> RankPrograms::buffers(const executable::Program &program, std::size_t index,
                                   const std::string &field) const {
  const bool writes = kernel->operands[index].access != catalogue::Access::Read;
  if (program.kind() == executable::ProgramKind::Forward ||
      (program.kind() == executable::ProgramKind::Evaluate && !writes)) {
    return {};
  }
  for (unsigned i = 0; plan.buffers() && i < plan.buffers()->size(); ++i) {
    const executable::BufferPlacement &buffer = *plan.buffers()->Get(i);
    const executable::Buffer &declared = *proof.file.buffers()->Get(buffer.buffer());
    const Range bytes{buffer.offset(), buffer.offset() + *bytesOf(declared.dtype(), declared.shape())};
    const Placed &operand = placed[index];
    if (operand.pool < 0 && operand.arena == buffer.arena() && operand.range.overlaps(bytes)) {
      return proof.fail(field, "only Forward updates the buffer \"" + declared.name()->str() +
                                   "\", and only Evaluate reads it besides");
    }
  }
  return {};
}

Result<void> RankPrograms::workspace(const executable::Command &command, const std::string &field) const {
  const std::uint64_t need =
      kernel->workspaceBytes ? kernel->workspaceBytes(shapes, proof.variant->target()->string_view()) : 0;
  if (command.workspace() < need) {
    return proof.fail(field + ".workspace", std::string(kernel->name) + " needs " + std::to_string(need) +
                                                " bytes of workspace, the file gives " +
                                                std::to_string(command.workspace()));
  }
  if (command.workspace() == 0) {
    return {};
  }
  const int arena = workspaceArena(plan);
  const auto range = arena < 0 ? std::nullopt
                               : rangeWithin(command.workspace_offset(), command.workspace(),
                                             plan.arenas()->Get(arena)->bytes());
  if (!range || command.workspace_offset() % catalogue::kAlignment) {
    return proof.fail(field + ".workspace_offset",
                      "the workspace is not aligned or not inside the workspace arena");
  }
  const Placed own{static_cast<unsigned>(arena), -1, *range};
  for (std::size_t i = 0; i < placed.size(); ++i) {
    if (placed[i].pool < 0 && placed[i].arena == own.arena && placed[i].range.overlaps(own.range)) {
      return proof.fail(indexed(field + ".operands", i), "the operand overlaps the command's workspace");
    }
  }
  if (overlapsPool(own)) {
    return proof.fail(field + ".workspace_offset", "the workspace overlaps a pool");
  }
  return {};
}

} // namespace

Result<void> verifyPrograms(Proof &proof) {
  proof.integerRules.assign(proof.file.inputs()->size(), {});
  for (int rank = 0; rank < proof.file.pipeline_ranks(); ++rank) {
    if (auto ok = RankPrograms(proof, rank).run(); !ok) {
      return ok;
    }
  }
  for (IntegerRule &rule : proof.integerRules) {
    if (rule.isIndex) {
      rule.ignored.reset();
    }
  }
  return {};
}

} // namespace stagewright::runtime
