#include "SentBytes.h"

#include "Plan.h"
#include "Table.h"

#include "schedule/Shards.h"

#include <algorithm>
#include <vector>

namespace stagewright::program {

using executable::ArenaClass;
using executable::ExchangeKind;
using executable::ProgramKind;
using executable::TaskKind;

const char *sentName(int kind) {
  static constexpr const char *names[kSentKinds] = {"activations, their gradients", "tied parameters",
                                                    "gradients of replicas", "weights of replicas",
                                                    "norm, loss"};
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

/// From one replica to all others, or from all others to one.
static void addExchanges(const runtime::Executable &plan, const executable::RankPlan &rank, SentBytes &sent) {
  const auto others = static_cast<std::uint64_t>(plan.mesh().replicas - 1);
  for (const executable::Program *program : *rank.programs()) {
    for (unsigned i = 0; program->points() && i < program->points()->size(); ++i) {
      const executable::ExchangePoint &point = *program->points()->Get(i);
      const executable::Exchange &exchange = *rank.exchanges()->Get(point.exchange());
      const bool gathers = exchange.kind() == ExchangeKind::Gather;
      for (unsigned j = 0; point.begins() && j < exchange.pieces()->size(); ++j) {
        sent[static_cast<std::size_t>(gathers ? Sent::Weights : Sent::Gradients)] +=
            others * exchange.pieces()->Get(j)->bytes() * (gathers ? runs(plan, program->kind()) : 1);
      }
    }
  }
  for (unsigned i = 0; rank.reductions() && i < rank.reductions()->size(); ++i) {
    const executable::Reduction &reduction = *rank.reductions()->Get(i);
    const Sent kind = reduction.stage() < 0 ? Sent::Shared : Sent::Gradients;
    sent[static_cast<std::size_t>(kind)] += others * reduction.bytes() * (reduction.replica() < 0 ? 2 : 1);
  }
  for (unsigned i = 0; rank.gathers() && i < rank.gathers()->size(); ++i) {
    const executable::ReplicaGather &gather = *rank.gathers()->Get(i);
    const Sent kind = gather.task() == TaskKind::Reduce   ? Sent::Gradients
                      : gather.task() == TaskKind::Gather ? Sent::Weights
                                                          : Sent::Shared;
    sent[static_cast<std::size_t>(kind)] += others * gather.bytes();
  }
}

SentBytes sentBytes(const runtime::Executable &plan, int rank) {
  SentBytes sent{};
  const executable::RankPlan &own = plan.rank(rank);
  const auto replicas = static_cast<std::uint64_t>(plan.mesh().replicas);
  const auto microBatches = static_cast<std::uint64_t>(plan.trainSchedule().microBatches);
  for (const executable::Transfer *transfer : *own.transfers()) {
    const bool moves =
        transfer->kind() == TaskKind::SendForward || transfer->kind() == TaskKind::SendBackward;
    const bool tied = transfer->kind() == TaskKind::SendSum || transfer->kind() == TaskKind::SendWeight;
    const std::uint64_t senders = transfer->replica() < 0 ? replicas : 1;
    if (moves || tied) {
      sent[static_cast<std::size_t>(tied ? Sent::Tied : Sent::Pipeline)] +=
          transfer->bytes() * senders * (moves ? microBatches : 1);
    }
  }
  for (const executable::Segment *segment : *own.train_collective()->segments()) {
    if (segment->rank() == rank) {
      sent[static_cast<std::size_t>(Sent::Shared)] +=
          segment->bytes() * replicas * static_cast<unsigned>(plan.rankCount() - 1);
    }
  }
  addExchanges(plan, own, sent);
  return sent;
}

namespace {

/// Bytes of one replica of a pipeline rank under a ZeRO stage, and what its replicas exchange per step.
struct ZeroCost {
  std::uint64_t weights = 0, gradients = 0, states = 0, sent = 0;
};

std::uint64_t elementsOf(const executable::Parameter &parameter) {
  std::uint64_t count = 1;
  for (const std::int64_t size : *parameter.shape()) {
    count *= static_cast<std::uint64_t>(size);
  }
  return count;
}

/// The compiler's rule (schedule/Shards.h), for the parameters that the rank's stages update.
ZeroCost zeroCost(const runtime::Executable &plan, int rank, int zero) {
  const executable::Executable &file = plan.file();
  const schedule::Schedule &schedule = plan.trainSchedule();
  ZeroCost cost;
  std::uint64_t trained = 0;
  for (int stage = 0; stage < schedule.stages; ++stage) {
    std::vector<schedule::Divided> divided;
    std::uint64_t whole = 0, frozen = 0, states = 0;
    for (const executable::Placement *placement : *plan.rank(rank).placements()) {
      const executable::Parameter &parameter =
          *file.parameters()->Get(static_cast<unsigned>(placement->parameter()));
      const std::uint64_t bytes = (4 * elementsOf(parameter) + 63) / 64 * 64;
      if (schedule.rankOfStage[static_cast<std::size_t>(stage)] != rank || parameter.stage() != stage) {
        continue; // a copy is counted where it is updated
      }
      (parameter.trainable() ? whole : frozen) += bytes;
      if (parameter.trainable()) {
        const auto elements = static_cast<std::int64_t>(elementsOf(parameter));
        const bool isWhole = zero > 0 && file.recipe()->optimizer()->str() == "lamb";
        divided.push_back({elements, isWhole ? elements : catalogue::kGranule, parameter.block()});
        trained += 4 * elementsOf(parameter);
        std::vector<std::string> names;
        for (const executable::StateSlice *state : *placement->states()) {
          names.push_back(state->name()->str());
        }
        std::sort(names.begin(), names.end());
        states = static_cast<std::uint64_t>(std::unique(names.begin(), names.end()) - names.begin()) - 1;
      }
    }
    const auto shard = 4 * static_cast<std::uint64_t>(
                               schedule::shardElements(schedule::cutShards(divided, plan.mesh().replicas)));
    cost.weights += frozen + (zero == 3 ? shard : whole);
    cost.states += states * (zero > 0 ? shard : whole);
  }
  cost.gradients = rankMemory(plan, rank).byClass[static_cast<std::size_t>(ArenaClass::Gradients)];
  const auto others = static_cast<std::uint64_t>(plan.mesh().replicas - 1);
  const auto microBatches = static_cast<std::uint64_t>(schedule.microBatches);
  cost.sent = others * (cost.gradients + (zero == 0   ? cost.gradients
                                          : zero == 3 ? 2 * microBatches * trained
                                                      : trained));
  if (zero == file.recipe()->zero()) {
    const SentBytes sent = sentBytes(plan, rank);
    cost.sent =
        sent[static_cast<std::size_t>(Sent::Gradients)] + sent[static_cast<std::size_t>(Sent::Weights)];
  }
  return cost;
}

} // namespace

std::string zeroStagesText(const runtime::Executable &plan) {
  if (plan.mesh().replicas == 1) {
    return "";
  }
  const int chosen = plan.file().recipe()->zero();
  Table table({"ZeRO", ">ranks", ">weights", ">gradients", ">optimizer state", ">sent by replicas, about"});
  for (int zero = 0; zero <= 3; ++zero) {
    for (int rank = 0; rank < plan.rankCount(); ++rank) {
      const ZeroCost cost = zeroCost(plan, rank, zero);
      table.addRow({zero == chosen ? std::to_string(zero) + " (this plan)" : std::to_string(zero),
                    plan.mesh().ranksText(rank), grouped(cost.weights), grouped(cost.gradients),
                    grouped(cost.states), grouped(cost.sent)});
    }
  }
  return "what other ZeRO stages hold (bytes of each rank) and send in a step (all replicas of it together; "
         "stage 3 with\n"
         "weights gathered for each task, and less derived from them)\n" +
         table.text();
}

} // namespace stagewright::program
