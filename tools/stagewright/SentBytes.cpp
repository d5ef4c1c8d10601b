#include "SentBytes.h"

#include "Plan.h"
#include "Table.h"

#include "schedule/Shards.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <vector>

namespace stagewright::program {

using executable::ArenaClass;
using executable::ExchangeKind;
using executable::ProgramKind;
using executable::TaskKind;

const char *sentName(int kind) {
  static constexpr const char *names[kSentKinds] = {
      "activations, their gradients", "tied parameters", "gradients of replicas",
      "weights of replicas",          "norm, loss",      "inside of layers"};
  return names[kind];
}

/// How often a step runs a program.
static std::uint64_t runs(const runtime::Executable &plan, ProgramKind kind) {
  switch (kind) {
  case ProgramKind::Evaluate:
    return 0;
  case ProgramKind::Forward:
  case ProgramKind::BackwardInput:
  case ProgramKind::BackwardWeight:
    return static_cast<std::uint64_t>(plan.trainSchedule().microBatches);
  default:
    return 1;
  }
}

/// Of a piece of weights that one replica has, to those that wait for it, of all groups of shards.
static std::uint64_t gatheringReplicas(const runtime::Executable &plan, int group) {
  return static_cast<std::uint64_t>(plan.mesh().replicas - plan.mesh().replicas / group);
}

/// From one replica to all others, or from all others to one.
static void addExchanges(const runtime::Executable &plan, const executable::RankPlan &rank, SentBytes &sent) {
  const auto others = static_cast<std::uint64_t>(plan.mesh().replicas - 1);
  const catalogue::GradientWire wire = runtime::gradientWire(*plan.file().contract());
  for (const executable::Program *program : *rank.programs()) {
    for (unsigned i = 0; program->points() && i < program->points()->size(); ++i) {
      const executable::ExchangePoint &point = *program->points()->Get(i);
      const executable::Exchange &exchange = *rank.exchanges()->Get(point.exchange());
      const bool gathers = exchange.kind() == ExchangeKind::Gather;
      const bool sends = !runtime::movesOffloaded(exchange.kind());
      for (unsigned j = 0; sends && point.begins() && j < exchange.pieces()->size(); ++j) {
        sent[static_cast<std::size_t>(gathers ? Sent::Weights : Sent::Gradients)] +=
            (gathers ? gatheringReplicas(plan, plan.shardGroup()) * exchange.pieces()->Get(j)->bytes()
                     : others * runtime::wireBytes(*exchange.pieces()->Get(j), wire)) *
            (exchange.kind() == ExchangeKind::Reduce ? 1 : runs(plan, program->kind()));
      }
    }
  }
  const auto servers = static_cast<std::uint64_t>(plan.mesh().servers);
  for (unsigned i = 0; rank.reductions() && i < rank.reductions()->size(); ++i) {
    const executable::Reduction &reduction = *rank.reductions()->Get(i);
    const Sent kind = reduction.stage() < 0 ? Sent::Shared : Sent::Gradients;
    const std::uint64_t contributing = servers > 0 ? others + 1 : others;
    sent[static_cast<std::size_t>(kind)] +=
        reduction.tensor()         ? 0
        : reduction.replica() >= 0 ? contributing * reduction.bytes()
                                   : (2 * others + servers) * reduction.bytes(); // servers get the loss
  }
  for (unsigned i = 0; rank.gathers() && i < rank.gathers()->size(); ++i) {
    const executable::ReplicaGather &gather = *rank.gathers()->Get(i);
    const Sent kind = gather.task() == TaskKind::Reduce   ? Sent::Gradients
                      : gather.task() == TaskKind::Gather ? Sent::Weights
                                                          : Sent::Shared;
    const bool ofShards = kind == Sent::Weights && plan.file().recipe()->zero() == 3;
    sent[static_cast<std::size_t>(kind)] +=
        gather.bytes() * (ofShards ? (others + 1) / static_cast<unsigned>(plan.shardGroup()) - 1
                          : servers > 0 && kind == Sent::Weights ? others + 1
                          : servers > 0                          ? servers - 1
                                                                 : others);
  }
}

/// By the ranks of all groups of an axis, of `bytes` of each: gathered, or added up.
static std::uint64_t groupBytes(const runtime::Mesh &mesh, bool ofReplicas, bool gathers,
                                std::uint64_t bytes) {
  const auto ranks = static_cast<std::uint64_t>(ofReplicas ? mesh.replicas : mesh.tensor),
             groups = static_cast<std::uint64_t>(mesh.perPipelineRank()) / ranks;
  return groups * (ranks - 1) * bytes * (gathers ? ranks : 2);
}

/// What kernels of the file exchange.
static void addCollectives(const runtime::Executable &plan, const executable::RankPlan &rank,
                           SentBytes &sent) {
  for (const executable::Program *program : *rank.programs()) {
    for (const executable::Command *command : *program->commands()) {
      const executable::KernelRef &reference = *plan.file().kernels()->Get(command->kernel());
      const catalogue::Kernel &kernel = *catalogue::find(reference.name()->str(), reference.version());
      if (kernel.isCollective) {
        const auto &shape = *command->operands()->Get(0)->shape();
        const auto elements =
            static_cast<std::uint64_t>(catalogue::elements(catalogue::Shape(shape.begin(), shape.end())));
        const bool ofReplicas =
            catalogue::stringAttribute(kernel, runtime::attributesOf(*command), "axis") == "data";
        sent[static_cast<std::size_t>(Sent::Layers)] +=
            runs(plan, program->kind()) * // sums travel in fp32
            groupBytes(plan.mesh(), ofReplicas, kernel.name == "all_gather", 4 * elements);
      }
    }
  }
  const auto updaters =
      static_cast<std::uint64_t>(plan.mesh().servers > 0 ? plan.mesh().servers : plan.mesh().replicas);
  for (unsigned i = 0; rank.reductions() && i < rank.reductions()->size(); ++i) {
    const executable::Reduction &reduction = *rank.reductions()->Get(i);
    sent[static_cast<std::size_t>(Sent::Shared)] +=
        reduction.tensor() ? updaters * 2 * static_cast<unsigned>(plan.mesh().tensor - 1) * reduction.bytes()
                           : 0;
  }
}

SentBytes sentBytes(const runtime::Executable &plan, int rank) {
  SentBytes sent{};
  const executable::RankPlan &own = plan.rank(rank);
  const auto replicas = static_cast<std::uint64_t>(plan.mesh().replicas);
  const auto servers = static_cast<std::uint64_t>(plan.mesh().servers);
  const auto microBatches = static_cast<std::uint64_t>(plan.trainSchedule().microBatches);
  for (const executable::Transfer *transfer : *own.transfers()) {
    const bool moves =
        transfer->kind() == TaskKind::SendForward || transfer->kind() == TaskKind::SendBackward;
    const bool tied = transfer->kind() == TaskKind::SendSum || transfer->kind() == TaskKind::SendWeight;
    const std::uint64_t owners = // replicas that have the same part
        transfer->kind() == TaskKind::SendWeight ? replicas / static_cast<unsigned>(plan.shardGroup()) : 1;
    const std::uint64_t senders = transfer->replica() < 0 ? replicas : owners;
    if (moves || tied) {
      sent[static_cast<std::size_t>(tied ? Sent::Tied : Sent::Pipeline)] +=
          transfer->bytes() * senders * (moves ? microBatches : 1);
    }
  }
  for (const executable::Segment *segment : *own.train_collective()->segments()) {
    if (segment->rank() == rank) {
      sent[static_cast<std::size_t>(Sent::Shared)] +=
          segment->bytes() * (replicas + servers) * static_cast<unsigned>(plan.rankCount() - 1);
    }
  }
  addExchanges(plan, own, sent);
  for (const executable::Scalar *scalar : *own.scalars()) {
    const bool isNorm = servers > 0 && scalar->name()->string_view() == "gradient_norm"; // to all replicas
    sent[static_cast<std::size_t>(Sent::Shared)] += isNorm ? replicas * sizeof(double) : 0;
  }
  for (std::uint64_t &bytes : sent) { // all tensor ranks do the same
    bytes *= static_cast<std::uint64_t>(plan.mesh().tensor);
  }
  addCollectives(plan, own, sent);
  return sent;
}

namespace {

/// Bytes of one replica of a pipeline rank under a ZeRO stage, and what its replicas exchange per step.
struct ZeroCost {
  std::uint64_t weights = 0, gradients = 0, states = 0, sent = 0;
};

/// Whether the file, or one of another ZeRO stage, adds up the gradients of each micro-batch; and so keeps
/// shards of them.
bool reducesMicroBatches(const runtime::Executable &plan) {
  return plan.file().contract()->gradient_reduction()->string_view() == "micro_batch";
}
bool shardsGradients(const runtime::Executable &plan, int zero) {
  return reducesMicroBatches(plan) && zero >= 2;
}

/// Of the sums of gradients of a pipeline rank that replicas add up: what one of them has, or all of them in
/// parts, and what that takes when it travels.
struct ExchangedSums {
  std::uint64_t bytes = 0, onTheWay = 0;
};
ExchangedSums exchangedSums(const runtime::Executable &plan, int rank) {
  const executable::RankPlan &own = plan.rank(rank);
  const catalogue::GradientWire wire = runtime::gradientWire(*plan.file().contract());
  ExchangedSums sums;
  for (unsigned i = 0; own.exchanges() && i < own.exchanges()->size(); ++i) {
    const ExchangeKind kind = own.exchanges()->Get(i)->kind();
    for (const executable::ExchangePiece *piece : *own.exchanges()->Get(i)->pieces()) {
      sums.bytes += runtime::addsUp(kind) ? piece->bytes() : 0;
      sums.onTheWay += runtime::addsUp(kind) ? runtime::wireBytes(*piece, wire) : 0;
    }
  }
  for (unsigned i = 0; own.reductions() && i < own.reductions()->size(); ++i) {
    const std::uint64_t bytes =
        own.reductions()->Get(i)->stage() >= 0 ? own.reductions()->Get(i)->bytes() : 0;
    sums.bytes += bytes;
    sums.onTheWay += bytes;
  }
  return sums;
}

/// The compiler's rule (schedule/Shards.h): bytes of each replica of each trained parameter of a stage.
std::map<int, std::map<int, std::uint64_t>> shardsOf(const runtime::Executable &plan, int stage, int zero) {
  const auto &parameters = *plan.file().parameters();
  const bool wholes = zero > 0 && plan.file().recipe()->optimizer()->str() == "lamb";
  std::vector<schedule::Divided> divided;
  std::vector<int> numbers;
  for (unsigned i = 0; i < parameters.size(); ++i) {
    if (parameters.Get(i)->stage() == stage && parameters.Get(i)->trainable()) {
      const auto elements = static_cast<std::int64_t>(elementsOf(*parameters.Get(i)));
      divided.push_back({elements, wholes ? elements : catalogue::kGranule, parameters.Get(i)->block()});
      numbers.push_back(static_cast<int>(i));
    }
  }
  std::map<int, std::map<int, std::uint64_t>> shards;
  for (const schedule::ShardPiece &piece : schedule::cutShards(divided, plan.mesh().replicas)) {
    shards[numbers[piece.parameter]][piece.replica] +=
        catalogue::aligned(4 * static_cast<std::uint64_t>(piece.elements));
  }
  return shards;
}

/// Names of states of the optimizer, gradient and residuals left out.
std::size_t statesOf(const executable::Placement &placement) {
  std::set<std::string> names;
  for (unsigned i = 0; placement.states() && i < placement.states()->size(); ++i) {
    if (!runtime::isResidual(*placement.states()->Get(i))) { // which no stage divides
      names.insert(placement.states()->Get(i)->name()->str());
    }
  }
  return names.empty() ? 0 : names.size() - 1;
}

/// Each replica has room for one shard of every group, as long as the group's largest.
std::uint64_t largestOfGroups(const std::map<int, std::uint64_t> &ofReplica, int group) {
  std::map<int, std::uint64_t> ofGroup;
  for (const auto &[replica, bytes] : ofReplica) {
    ofGroup[replica / group] = std::max(ofGroup[replica / group], bytes);
  }
  return std::accumulate(ofGroup.begin(), ofGroup.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const auto &entry) { return sum + entry.second; });
}

/// With stage 3, `group` replicas divide the weights.
ZeroCost zeroCost(const runtime::Executable &plan, int rank, int zero, int group) {
  const schedule::Schedule &schedule = plan.trainSchedule();
  ZeroCost cost;
  std::uint64_t updated = 0, gathered = 0, fixed = 0; // bytes of weights; those that all replicas have whole
  std::map<int, std::uint64_t> shard, states;         // by replica
  std::map<int, std::map<int, std::map<int, std::uint64_t>>> ofStages;
  std::set<int> owned;
  for (const executable::Placement *placement : *plan.rank(rank).placements()) {
    const executable::Parameter &parameter =
        *plan.file().parameters()->Get(static_cast<unsigned>(placement->parameter()));
    const std::uint64_t bytes = 4 * elementsOf(parameter);
    const bool isCopy = schedule.rankOfStage[static_cast<std::size_t>(parameter.stage())] != rank ||
                        !owned.insert(placement->parameter()).second;
    fixed += parameter.trainable() && zero == 3 ? 0 : catalogue::aligned(bytes);
    if (!parameter.trainable()) {
      continue;
    }
    gathered += bytes;
    updated += isCopy ? 0 : bytes;
    auto [stage, isNew] = ofStages.try_emplace(parameter.stage());
    if (isNew) {
      stage->second = shardsOf(plan, parameter.stage(), zero);
    }
    for (const auto &[replica, part] : stage->second[placement->parameter()]) {
      shard[replica] += part;
      states[replica] += isCopy ? 0 : part * statesOf(*placement);
    }
    cost.states += zero == 0 && !isCopy ? catalogue::aligned(bytes) * statesOf(*placement) : 0;
  }
  const auto groups = static_cast<std::uint64_t>(plan.mesh().replicas / group);
  cost.weights = fixed + (zero == 3 ? largestOfGroups(shard, group) : 0);
  cost.states += zero == 0 ? 0 : largest(states);
  const auto others = static_cast<std::uint64_t>(plan.mesh().replicas - 1);
  const auto microBatches = static_cast<std::uint64_t>(schedule.microBatches);
  const auto [sums, onTheWay] = exchangedSums(plan, rank);
  const int chosen = plan.file().recipe()->zero();
  cost.gradients = shardsGradients(plan, zero) == shardsGradients(plan, chosen)
                       ? rankMemory(plan, rank).byClass[static_cast<std::size_t>(ArenaClass::Gradients)]
                   : shardsGradients(plan, zero) ? sums / (others + 1)
                                                 : sums;
  const std::uint64_t added = others * onTheWay * (reducesMicroBatches(plan) ? microBatches : 1);
  const std::uint64_t shared =
      zero == 0   ? others * sums
      : zero == 3 ? 2 * microBatches * gathered * gatheringReplicas(plan, group) + (groups - 1) * updated
                  : others * updated;
  cost.sent = static_cast<std::uint64_t>(plan.mesh().tensor) * (added + shared);
  if (zero == chosen && group == plan.shardGroup()) {
    const SentBytes sent = sentBytes(plan, rank);
    cost.sent =
        sent[static_cast<std::size_t>(Sent::Gradients)] + sent[static_cast<std::size_t>(Sent::Weights)];
  }
  return cost;
}

} // namespace

std::string zeroStagesText(const runtime::Executable &plan) {
  if (plan.mesh().replicas == 1 || plan.mesh().servers > 0) {
    return "";
  }
  const int replicas = plan.mesh().replicas, chosen = plan.file().recipe()->zero();
  std::vector<std::pair<int, int>> settings = {
      {0, replicas}, {1, replicas}, {2, replicas}, {3, replicas}}; // stage, group
  for (int group = replicas / 2; group >= 1; --group) {
    if (replicas % group == 0 && (group > 1 || plan.shardGroup() == 1)) {
      settings.emplace_back(3, group);
    }
  }
  Table table(
      {"ZeRO", ">ranks", ">weights", ">gradients, about", ">optimizer state", ">sent by replicas, about"});
  for (const auto &[zero, group] : settings) {
    const bool isPlan = zero == chosen && group == plan.shardGroup();
    for (int rank = 0; rank < plan.rankCount(); ++rank) {
      const ZeroCost cost = zeroCost(plan, rank, zero, group);
      table.addRow({std::to_string(zero) + (group == replicas ? "" : ", groups of " + std::to_string(group)) +
                        (isPlan ? " (this plan)" : ""),
                    plan.mesh().ranksText(rank), grouped(cost.weights), grouped(cost.gradients),
                    grouped(cost.states), grouped(cost.sent)});
    }
  }
  return "what other ZeRO stages hold (bytes of each rank, offloaded ones too) and send in a step (all "
         "replicas of it together; "
         "stage 3 with\n"
         "weights gathered for each task, and less derived from them)\n" +
         table.text();
}

} // namespace stagewright::program
