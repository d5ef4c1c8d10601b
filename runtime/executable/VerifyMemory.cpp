// Arenas, and what lies in them: slot pools, model inputs, parameters with their state, scalars.
#include "runtime/executable/Executable.h"
#include "runtime/executable/Proof.h"
#include "runtime/train/LearningRate.h"

#include <algorithm>
#include <map>
#include <set>

namespace stagewright::runtime {

namespace {

/// Something with bytes of its own in an arena.
struct Region {
  unsigned arena;
  Range range;
  std::string field;
  int replica = -1;        ///< it lies there for this one alone; -1: for all
  bool isRepeated = false; ///< and for those that have its number in other groups of shards
};

/// The checks of one rank's memory.
class RankMemory {
public:
  RankMemory(const Proof &proof, int rank)
      : proof(proof), rank(rank), plan(*proof.variant->ranks()->Get(rank)), at(indexed("ranks", rank) + ".") {
  }

  Result<void> run() {
    for (auto check : {&RankMemory::arenas, &RankMemory::pools, &RankMemory::inputs, &RankMemory::placements,
                       &RankMemory::buffers, &RankMemory::receivedSums, &RankMemory::outputs,
                       &RankMemory::scalars, &RankMemory::disjoint}) {
      if (auto ok = (this->*check)(); !ok) {
        return ok;
      }
    }
    return {};
  }

private:
  Result<void> arenas();
  Result<void> pools();
  Result<void> pool(unsigned index);
  Result<void> inputs();
  Result<void> placements();
  Result<void> buffers();
  Result<void> receivedSums();
  Result<void> outputs();
  Result<void> scalars();
  Result<void> disjoint();

  /// In the device's memory, or, of what a replica alone has, anywhere.
  std::optional<Range> inArena(unsigned arena, std::uint64_t offset, std::uint64_t bytes,
                               bool offloaded = false) const {
    if (!isInDevice(plan, arena) && !(offloaded && arena < plan.arenas()->size())) {
      return std::nullopt;
    }
    return rangeWithin(offset, bytes, plan.arenas()->Get(arena)->bytes());
  }
  Result<void> tensor(unsigned arena, std::uint64_t offset, executable::DType dtype,
                      const flatbuffers::Vector<std::int64_t> *shape, const std::string &field,
                      int replica = -1, bool isRepeated = false);
  Result<void> weight(const executable::Placement &placement, const executable::Parameter &parameter,
                      const std::string &field);
  Result<void> states(const executable::Placement &placement, const executable::Parameter &parameter,
                      const std::string &field);

  const Proof &proof;
  const int rank;
  const executable::RankPlan &plan;
  const std::string at;
  std::vector<Region> regions;
};

Result<void> RankMemory::arenas() {
  if (plan.rank() != rank) {
    return proof.fail(at + "rank", "the plans of the ranks are not in order");
  }
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    const executable::Arena &arena = *plan.arenas()->Get(i);
    const std::string field = indexed(at + "arenas", i);
    if (arena.arena_class() > executable::ArenaClass::MAX) {
      return proof.fail(field + ".arena_class", "unknown class of arena");
    }
    const executable::Offload *offload = arena.arena_class() == executable::ArenaClass::Parameters
                                             ? proof.file.recipe()->weights_offload()
                                         : arena.arena_class() == executable::ArenaClass::OptimizerState
                                             ? proof.file.recipe()->states_offload()
                                             : nullptr;
    if (arena.tier() != executable::MemoryTier::Device && !(offload && offload->tier() == arena.tier())) {
      return proof.fail(field + ".tier",
                        "the recipe does not offload this class of arena, or to another tier");
    }
    if (arena.arena_class() == executable::ArenaClass::Workspace &&
        workspaceArena(plan) != static_cast<int>(i)) {
      return proof.fail(field, "a rank has one workspace arena");
    }
    if (arena.arena_class() == executable::ArenaClass::Communication &&
        communicationArena(plan) != static_cast<int>(i)) {
      return proof.fail(field, "a rank has one arena for communication");
    }
    if (arena.arena_class() == executable::ArenaClass::Residuals && !proof.wire().compresses()) {
      return proof.fail(field, "without compression of gradients there are no residuals");
    }
    if (arena.bytes() > kMaxTensorBytes) {
      return proof.fail(field + ".bytes", "impossible size " + std::to_string(arena.bytes()));
    }
  }
  return {};
}

Result<void> RankMemory::pools() {
  for (unsigned i = 0; i < plan.pools()->size(); ++i) {
    if (auto ok = pool(i); !ok) {
      return ok;
    }
  }
  return {};
}

/// The stored slots of each micro-batch as a value of the schedule library.
static schedule::SlotAssignment assignment(int slots, const flatbuffers::Vector<std::uint16_t> &slotOf) {
  return {slots, std::vector<std::uint16_t>(slotOf.begin(), slotOf.end())};
}

Result<void> RankMemory::pool(unsigned index) {
  const executable::SlotPool &pool = *plan.pools()->Get(index);
  const std::string field = indexed(at + "pools", index);
  const std::string called = "pool \"" + pool.name()->str() + "\" ";
  if (!proof.owns(rank, pool.stage())) {
    return proof.fail(field + ".stage", called + "is for a stage of another rank");
  }
  const int first = moment(pool.first()), last = moment(pool.last());
  if (first < 0 || last < first) {
    return proof.fail(field + ".first", called + "ends before it begins");
  }
  using Kind = executable::TaskKind;
  if (pool.first() != Kind::ReceiveForward && pool.first() != Kind::Forward &&
      pool.first() != Kind::ReceiveBackward && pool.first() != Kind::BackwardInput) {
    return proof.fail(field + ".first", called + "begins with a task that makes no value");
  }
  const Kind taker = pool.first() == Kind::ReceiveForward    ? Kind::Forward
                     : pool.first() == Kind::ReceiveBackward ? Kind::BackwardInput
                                                             : pool.first();
  if (last < moment(taker)) {
    return proof.fail(field + ".last", called + "ends before the task that waits for it");
  }
  if (pool.slots() < 1 || pool.slot_bytes() < 1 || pool.slot_bytes() > kMaxTensorBytes) {
    return proof.fail(field + ".slots", called + "has no slots or an impossible slot size");
  }
  const auto range =
      inArena(pool.arena(), pool.offset(), pool.slots() * pool.slot_bytes()); // at most 2^64 - 2^48
  if (!range) {
    return proof.fail(field + ".offset", called + "does not lie inside an arena");
  }
  regions.push_back({pool.arena(), *range, field});
  const schedule::Lifetime lifetime = lifetimeOf(pool);
  if (auto ok = schedule::verifySlots(proof.train, lifetime, assignment(pool.slots(), *pool.train_slots()));
      !ok) {
    return proof.fail(field + ".train_slots", called + "overwrites a live slot: " + ok.error().text());
  }
  if (auto ok =
          schedule::verifySlots(proof.evaluate, lifetime, assignment(pool.slots(), *pool.evaluate_slots()));
      !ok) {
    return proof.fail(field + ".evaluate_slots", called + "overwrites a live slot: " + ok.error().text());
  }
  return {};
}

Result<void> RankMemory::inputs() {
  std::vector<Region> bound; // "arena" is the pool here: bindings may not share bytes of a slot
  for (unsigned i = 0; i < plan.inputs()->size(); ++i) {
    const executable::InputBinding &binding = *plan.inputs()->Get(i);
    const std::string field = indexed(at + "inputs", i);
    if (binding.input() < kTensorRandomInput ||
        binding.input() >= static_cast<int>(proof.file.inputs()->size())) {
      return proof.fail(field + ".input", "there is no input " + std::to_string(binding.input()));
    }
    if (!proof.owns(rank, binding.stage())) {
      return proof.fail(field + ".stage", "the input is for a stage of another rank");
    }
    if (binding.pool() >= plan.pools()->size()) {
      return proof.fail(field + ".pool", "there is no such pool");
    }
    const executable::SlotPool &pool = *plan.pools()->Get(binding.pool());
    if (pool.stage() != binding.stage() || pool.first() != executable::TaskKind::Forward) {
      return proof.fail(field + ".pool", "the pool does not begin with this stage's F");
    }
    const auto elements = elementsOf(binding.shape());
    std::uint64_t expected = binding.input() == kRandomInput || binding.input() == kTensorRandomInput ? 4 : 1;
    executable::DType dtype = executable::DType::I32;
    if (binding.input() >= 0) {
      const executable::ModelInput &input = *proof.file.inputs()->Get(binding.input());
      dtype = input.dtype();
      const auto rows = static_cast<unsigned>(proof.file.recipe()->micro_batch_size());
      const std::uint64_t perSample = *elementsOf(input.sample_shape());
      if (perSample > kMaxTensorBytes / rows) {
        return proof.fail(field + ".shape", "impossible size of a micro-batch");
      }
      expected = perSample * rows;
      if (!elements || binding.shape()->size() < 1 ||
          binding.shape()->Get(0) != proof.file.recipe()->micro_batch_size()) {
        return proof.fail(field + ".shape", "the first dimension is not the micro-batch size");
      }
    }
    if (!elements || *elements != expected) {
      return proof.fail(field + ".shape",
                        "the shape " + shapeText(binding.shape()) + " does not fit the input");
    }
    const auto bytes = bytesOf(dtype, binding.shape());
    const auto range = rangeWithin(binding.offset(), *bytes, pool.slot_bytes());
    if (!range) {
      return proof.fail(field + ".offset", "the input does not lie inside its slot");
    }
    const std::uint64_t unit = catalogue::byteSize(static_cast<catalogue::DType>(dtype));
    if (binding.offset() % unit || pool.offset() % unit || pool.slot_bytes() % unit) {
      return proof.fail(field + ".offset", "the input is not aligned");
    }
    for (const Region &other : bound) {
      if (other.arena == binding.pool() && other.range.overlaps(*range)) {
        return proof.fail(field + ".offset", "the input shares bytes with " + other.field);
      }
    }
    bound.push_back({binding.pool(), *range, field});
  }
  return {};
}

Result<void> RankMemory::tensor(unsigned arena, std::uint64_t offset, executable::DType dtype,
                                const flatbuffers::Vector<std::int64_t> *shape, const std::string &field,
                                int replica, bool isRepeated) {
  const auto bytes = bytesOf(dtype, shape);
  const auto range = bytes ? inArena(arena, offset, *bytes, replica != -1) : std::nullopt;
  if (!range) {
    return proof.fail(field + ".offset", "the tensor does not lie inside an arena");
  }
  if (offset % catalogue::kAlignment) {
    return proof.fail(field + ".offset", "the tensor is not aligned");
  }
  regions.push_back({arena, *range, field, replica, isRepeated});
  return {};
}

Result<void> RankMemory::placements() {
  std::set<int> placed;
  for (unsigned i = 0; i < plan.placements()->size(); ++i) {
    const executable::Placement &placement = *plan.placements()->Get(i);
    const std::string field = indexed(at + "placements", i);
    if (placement.parameter() < 0 ||
        placement.parameter() >= static_cast<int>(proof.file.parameters()->size())) {
      return proof.fail(field + ".parameter",
                        "there is no parameter " + std::to_string(placement.parameter()));
    }
    const executable::Parameter &parameter = *proof.file.parameters()->Get(placement.parameter());
    const std::string called = "parameter \"" + parameter.name()->str() + "\" ";
    if (!proof.holds(rank, parameter) || !placed.insert(placement.parameter()).second) {
      return proof.fail(field + ".parameter",
                        called + "belongs to a stage of another rank, or is placed twice");
    }
    if (auto ok = weight(placement, parameter, field); !ok) {
      return ok;
    }
    if (auto ok = states(placement, parameter, field); !ok) {
      return ok;
    }
  }
  return {};
}

/// Whole, or with ZeRO 3, when it is trained, in pieces of replicas that follow each other.
Result<void> RankMemory::weight(const executable::Placement &placement,
                                const executable::Parameter &parameter, const std::string &field) {
  if (!placement.shards() || placement.shards()->size() == 0) {
    return proof.shardsWeights() && parameter.trainable()
               ? proof.fail(field + ".shards", "with ZeRO 3 every replica has a part of a trained parameter")
               : tensor(placement.arena(), placement.offset(), parameter.dtype(), parameter.shape(), field);
  }
  std::uint64_t elements = 0;
  for (unsigned j = 0; j < placement.shards()->size(); ++j) {
    const executable::StateSlice &piece = *placement.shards()->Get(j);
    const std::string pieceField = indexed(field + ".shards", j);
    const auto size = elementsOf(piece.shape());
    if (!proof.shardsWeights() || !proof.hasUpdater(piece.replica()) || piece.dtype() != parameter.dtype()) {
      return proof.fail(pieceField + ".replica", "a part of a weight belongs to a replica with ZeRO 3");
    }
    if (!size || piece.first() != elements || *size > *elementsOf(parameter.shape()) - elements) {
      return proof.fail(pieceField + ".shape", "the parts do not follow each other");
    }
    elements += *size;
    if (piece.arena() >= plan.arenas()->size() ||
        plan.arenas()->Get(piece.arena())->arena_class() != executable::ArenaClass::Parameters) {
      return proof.fail(pieceField + ".arena", "a part of a weight lies among the parameters");
    }
    if (auto ok = tensor(piece.arena(), piece.offset(), piece.dtype(), piece.shape(), pieceField,
                         piece.replica(), true);
        !ok) {
      return ok;
    }
  }
  return elements == *elementsOf(parameter.shape())
             ? Result<void>()
             : proof.fail(field + ".shards", "the parts are not the whole parameter");
}

/// Of one parameter: each state whole, or with ZeRO in pieces of replicas that follow each other.
Result<void> RankMemory::states(const executable::Placement &placement,
                                const executable::Parameter &parameter, const std::string &field) {
  const std::string called = "parameter \"" + parameter.name()->str() + "\" ";
  const bool owned = proof.owns(rank, parameter.stage());
  std::map<std::string, std::uint64_t> elements; // so far
  for (unsigned j = 0; placement.states() && j < placement.states()->size(); ++j) {
    const executable::StateSlice &state = *placement.states()->Get(j);
    const std::string stateField = indexed(field + ".states", j);
    const bool divided =
        state.name()->str() == "gradient" ? proof.shardsGradients() : proof.shards() && !isResidual(state);
    const auto size = elementsOf(state.shape());
    auto [known, isNew] = elements.try_emplace(state.name()->str(), 0);
    if (!isNew && !divided) {
      return proof.fail(stateField + ".name", called + "has two states with one name");
    }
    if (divided ? !proof.hasUpdater(state.replica()) : state.replica() != -1) {
      return proof.fail(stateField + ".replica",
                        called + "has states of replicas with ZeRO, and not otherwise");
    }
    const std::uint64_t left = *elementsOf(parameter.shape()) - known->second;
    if (!size || state.first() != known->second || *size > left || (!divided && *size < left)) {
      return proof.fail(stateField + ".shape", called + "and its state differ in size");
    }
    known->second += *size;
    if (!owned && !isResidual(state)) {
      return proof.fail(stateField, called + "has its state on the stage that owns it alone");
    }
    if (state.dtype() != executable::DType::F32) {
      return proof.fail(stateField + ".dtype", "the state of master weights is f32");
    }
    if (auto ok =
            tensor(state.arena(), state.offset(), state.dtype(), state.shape(), stateField, state.replica());
        !ok) {
      return ok;
    }
    if ((plan.arenas()->Get(state.arena())->arena_class() == executable::ArenaClass::Residuals) !=
        isResidual(state)) {
      return proof.fail(stateField + ".arena",
                        called + "has its residuals, and nothing else, among residuals");
    }
  }
  std::vector<std::string> needed;
  if (parameter.trainable() && owned) {
    needed = *optimizerStates(proof.file.recipe()->optimizer()->str());
    needed.push_back("gradient");
    if (proof.wire().compresses()) {
      needed.push_back("residual");
    }
  }
  for (const std::string &state : needed) {
    if (!elements.count(state)) {
      return proof.fail(field + ".states", called + "lacks the state \"" + state + "\"");
    }
  }
  for (const auto &[state, size] : elements) {
    if (size != *elementsOf(parameter.shape())) {
      return proof.fail(field + ".states", called + "has a part of the state \"" + state + "\" only");
    }
  }
  return {};
}

Result<void> RankMemory::buffers() {
  const unsigned count = proof.file.buffers() ? proof.file.buffers()->size() : 0;
  for (unsigned i = 0; plan.buffers() && i < plan.buffers()->size(); ++i) {
    const executable::BufferPlacement &placement = *plan.buffers()->Get(i);
    const std::string field = indexed(at + "buffers", i);
    if (placement.buffer() < 0 || static_cast<unsigned>(placement.buffer()) >= count) {
      return proof.fail(field + ".buffer", "there is no buffer " + std::to_string(placement.buffer()));
    }
    const executable::Buffer &buffer = *proof.file.buffers()->Get(placement.buffer());
    if (!proof.owns(rank, buffer.stage())) {
      return proof.fail(field + ".buffer",
                        "buffer \"" + buffer.name()->str() + "\" belongs to a stage of another rank");
    }
    if (auto ok = tensor(placement.arena(), placement.offset(), buffer.dtype(), buffer.shape(), field); !ok) {
      return ok;
    }
  }
  return {};
}

/// Gradient sums of other stages arrive while this one's programs run: nothing else lies there.
Result<void> RankMemory::receivedSums() {
  for (unsigned i = 0; i < plan.transfers()->size(); ++i) {
    const executable::Transfer &transfer = *plan.transfers()->Get(i);
    if (transfer.kind() != executable::TaskKind::ReceiveSum) {
      continue;
    }
    const std::string field = indexed(at + "transfers", i);
    const auto range = transfer.arena() < 0 ? std::nullopt
                                            : inArena(static_cast<unsigned>(transfer.arena()),
                                                      transfer.offset(), transfer.bytes());
    if (!range) {
      return proof.fail(field + ".arena", "there is no such arena, or the transfer does not lie inside it");
    }
    regions.push_back({static_cast<unsigned>(transfer.arena()), *range, field, transfer.replica()});
  }
  return {};
}

/// They are only read, so that they may lie over anything.
Result<void> RankMemory::outputs() {
  for (unsigned i = 0; plan.outputs() && i < plan.outputs()->size(); ++i) {
    const executable::OutputBinding &output = *plan.outputs()->Get(i);
    const executable::Operand &value = *output.value();
    const std::string field = indexed(at + "outputs", i);
    if (!proof.owns(rank, output.stage())) {
      return proof.fail(field + ".stage", "the output is of a stage of another rank");
    }
    if (i > 0 || output.stage() != proof.stages() - 1) {
      return proof.fail(field + ".stage", "there is one output, and it is of the last stage");
    }
    if (value.dtype() != executable::DType::F32 && value.dtype() != executable::DType::F16 &&
        value.dtype() != executable::DType::BF16) {
      return proof.fail(field + ".value.dtype", "outputs are f32, f16 or bf16");
    }
    const auto bytes = bytesOf(value.dtype(), value.shape());
    if (!bytes || value.shape()->size() < 1 ||
        value.shape()->Get(0) != proof.file.recipe()->micro_batch_size()) {
      return proof.fail(field + ".value.shape", "the first dimension is not the micro-batch size");
    }
    if (value.pool() >= 0 || !inArena(value.arena(), value.offset(), *bytes) ||
        value.offset() % catalogue::kAlignment) {
      return proof.fail(field + ".value.offset", "the output is not aligned or not inside an arena");
    }
  }
  return {};
}

Result<void> RankMemory::scalars() {
  using executable::DType;
  const auto m = static_cast<std::uint64_t>(proof.microBatches());
  const std::uint64_t losses = 1 + (proof.file.loss_terms() ? proof.file.loss_terms()->size() : 0);
  const bool corrects = correctsBias(proof.file.recipe()->optimizer()->str());
  const bool cyclesBeta = LearningRate::create(*proof.file.recipe())->firstBeta(1).has_value(); // proved
  struct Rule {
    std::string name;
    DType dtype;
    std::uint64_t count;
    bool required;
    bool own; ///< not part of a pool that programs write
  };
  std::vector<Rule> rules = {
      {"learning_rate", DType::F64, 1, true, true},
      {"step", DType::I32, 1, true, true},
      {"bias_corrections", DType::F64, 2, corrects, true},
      {"beta1", DType::F64, 1, cyclesBeta, true},
      {"loss_scale", DType::F32, 1, proof.file.recipe()->loss_scale() != nullptr, true},
      {"clip_coefficient", DType::F32, 1, true, true},
      {"gradient_norm", DType::F64, 1, false, true},
      {"loss", DType::F64, losses, true, true},
      {"losses", DType::F32, m * losses, true, false},
      {"correct", DType::I64, m, proof.file.accuracy(), false}};
  if (proof.file.contract()->stochastic_rounding()) {
    rules.push_back({"rounding", DType::I32, 5, true, true});
  }
  const auto *groups = proof.file.recipe()->parameter_groups();
  for (unsigned group = 0; groups && group < groups->size(); ++group) {
    rules.push_back({"learning_rate." + std::to_string(group), DType::F64, 1, true, true});
  }
  std::set<std::string> seen;
  for (unsigned i = 0; i < plan.scalars()->size(); ++i) {
    const executable::Scalar &scalar = *plan.scalars()->Get(i);
    const std::string field = indexed(at + "scalars", i), name = scalar.name()->str();
    const auto rule = std::find_if(rules.begin(), rules.end(), [&](const Rule &r) { return name == r.name; });
    if (rule == rules.end() || !seen.insert(name).second) {
      return proof.fail(field + ".name", "unknown or repeated scalar \"" + name + "\"");
    }
    if (scalar.dtype() != rule->dtype || scalar.count() != rule->count) {
      return proof.fail(field + ".dtype",
                        "scalar \"" + name + "\" must be " +
                            std::string(catalogue::name(static_cast<catalogue::DType>(rule->dtype))) + " x " +
                            std::to_string(rule->count));
    }
    const std::uint64_t unit = catalogue::byteSize(static_cast<catalogue::DType>(rule->dtype));
    const auto range = inArena(scalar.arena(), scalar.offset(), unit * rule->count);
    if (!range || scalar.offset() % unit) {
      return proof.fail(field + ".offset", "scalar \"" + name + "\" is not aligned or not inside an arena");
    }
    if (rule->own) {
      regions.push_back({scalar.arena(), *range, field});
    }
  }
  for (const Rule &rule : rules) {
    if (rule.required && !seen.count(rule.name)) {
      return proof.fail(at + "scalars", "scalar \"" + rule.name + "\" is missing");
    }
  }
  return {};
}

/// On each replica alone.
Result<void> RankMemory::disjoint() {
  std::sort(regions.begin(), regions.end(), [](const Region &a, const Region &b) {
    return a.arena != b.arena ? a.arena < b.arena : a.range.begin < b.range.begin;
  });
  const int replicas = proof.shards() ? proof.updaters() : 1;
  for (int replica = 0; replica < replicas; ++replica) {
    const Region *before = nullptr;
    for (const Region &here : regions) {
      const bool isThere = here.isRepeated ? proof.hasShardOf(replica, here.replica)
                                           : here.replica == -1 || here.replica == replica;
      if (!isThere) {
        continue;
      }
      if (before && before->arena == here.arena && before->range.end > here.range.begin) {
        return proof.fail(here.field, "its bytes overlap with those of " + before->field);
      }
      before = &here;
    }
  }
  return {};
}

/// Every parameter has one place on each stage that uses it, every buffer one; every input is read somewhere.
Result<void> complete(const Proof &proof) {
  std::vector<int> places(proof.file.parameters()->size(), 0), readers(proof.file.inputs()->size(), 0);
  std::vector<int> buffers(proof.file.buffers() ? proof.file.buffers()->size() : 0, 0);
  for (const executable::RankPlan *plan : *proof.variant->ranks()) {
    for (const executable::Placement *placement : *plan->placements()) {
      ++places[placement->parameter()];
    }
    for (unsigned i = 0; plan->buffers() && i < plan->buffers()->size(); ++i) {
      ++buffers[plan->buffers()->Get(i)->buffer()];
    }
    for (const executable::InputBinding *binding : *plan->inputs()) {
      if (binding->input() >= 0) {
        ++readers[binding->input()];
      }
    }
  }
  for (unsigned i = 0; i < places.size(); ++i) {
    const executable::Parameter &parameter = *proof.file.parameters()->Get(i);
    const int wanted = 1 + (parameter.holders() ? static_cast<int>(parameter.holders()->size()) : 0);
    if (places[i] != wanted) {
      return proof.fail(indexed("parameters", i), "parameter \"" + parameter.name()->str() + "\" has " +
                                                      std::to_string(places[i]) + " places, not " +
                                                      std::to_string(wanted));
    }
  }
  for (unsigned i = 0; i < buffers.size(); ++i) {
    if (buffers[i] != 1) {
      return proof.fail(indexed("buffers", i), "buffer \"" + proof.file.buffers()->Get(i)->name()->str() +
                                                   "\" has " + std::to_string(buffers[i]) +
                                                   " places, not one");
    }
  }
  for (unsigned i = 0; i < readers.size(); ++i) {
    if (readers[i] == 0) {
      return proof.fail(indexed("inputs", i), "no stage reads the input");
    }
  }
  return {};
}

} // namespace

Result<void> verifyMemory(const Proof &proof) {
  if (proof.variant->ranks()->size() != static_cast<std::size_t>(proof.file.pipeline_ranks())) {
    return proof.fail("variants.ranks", "the number of plans is not the number of ranks");
  }
  for (int rank = 0; rank < proof.file.pipeline_ranks(); ++rank) {
    if (auto ok = RankMemory(proof, rank).run(); !ok) {
      return ok;
    }
  }
  return complete(proof);
}

} // namespace stagewright::runtime
