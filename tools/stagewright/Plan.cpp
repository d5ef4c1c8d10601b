#include "Plan.h"

#include "catalogue/Catalogue.h"
#include "runtime/executable/ServerRanks.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <sys/ioctl.h>
#include <unistd.h>

namespace stagewright::program {

std::uint64_t PlanMemory::rounding() const {
  return planned - std::accumulate(byClass.begin(), byClass.end(), std::uint64_t{0});
}

bool isForHostAlone(const runtime::Executable &plan) {
  return plan.targets() == std::vector<std::string>{"host"};
}

std::uint64_t elementsOf(const executable::Parameter &parameter) {
  std::uint64_t count = 1;
  for (const std::int64_t size : *parameter.shape()) {
    count *= static_cast<std::uint64_t>(size);
  }
  return count;
}

std::uint64_t largest(const std::map<int, std::uint64_t> &ofReplica) {
  std::uint64_t most = 0;
  for (const auto &[replica, bytes] : ofReplica) {
    most = std::max(most, bytes);
  }
  return most;
}

/// Of the rank, that updates the parameter or holds a copy.
static int stageOf(const runtime::Executable &plan, int rank, const executable::Parameter &parameter) {
  const auto &rankOfStage = plan.trainSchedule().rankOfStage;
  int found = parameter.stage();
  for (unsigned i = 0; parameter.holders() && rankOfStage[static_cast<std::size_t>(found)] != rank &&
                       i < parameter.holders()->size();
       ++i) {
    found = parameter.holders()->Get(i);
  }
  return found;
}

/// The arena of weights or of states if nothing were offloaded: the largest shards of the rank's replicas,
/// and what is not divided.
static std::uint64_t bytesOfShards(const runtime::Executable &plan, int rank,
                                   executable::ArenaClass arenaClass) {
  std::map<std::pair<int, std::string>, std::map<int, std::uint64_t>> shards; // by stage and state
  std::uint64_t whole = 0;
  const auto add = [&](int stage, const executable::StateSlice &piece) {
    if (plan.rank(rank).arenas()->Get(piece.arena())->arena_class() == arenaClass) {
      std::uint64_t bytes = catalogue::byteSize(static_cast<catalogue::DType>(piece.dtype()));
      for (const std::int64_t size : *piece.shape()) {
        bytes *= static_cast<std::uint64_t>(size);
      }
      shards[{stage, piece.name()->str()}][piece.replica()] += catalogue::aligned(bytes);
    }
  };
  for (const executable::Placement *placement : *plan.rank(rank).placements()) {
    const executable::Parameter &parameter =
        *plan.file().parameters()->Get(static_cast<unsigned>(placement->parameter()));
    const bool isWeight = arenaClass == executable::ArenaClass::Parameters;
    const auto *pieces = isWeight ? placement->shards() : placement->states();
    for (unsigned i = 0; pieces && i < pieces->size(); ++i) {
      add(stageOf(plan, rank, parameter), *pieces->Get(i));
    }
    if (isWeight && (!pieces || pieces->size() == 0)) {
      whole += catalogue::aligned(4 * elementsOf(parameter));
    }
  }
  for (const auto &[key, ofReplica] : shards) {
    whole += largest(ofReplica);
  }
  return whole;
}

PlanMemory rankMemory(const runtime::Executable &plan, int rank, runtime::RankRole role) {
  PlanMemory memory;
  const executable::RankPlan &own = plan.rank(rank);
  for (unsigned i = 0; i < own.arenas()->size(); ++i) {
    const executable::Arena &arena = *own.arenas()->Get(i);
    const auto tier = static_cast<std::size_t>(arena.tier());
    (tier == 0 ? memory.byClass : memory.offloaded[tier])[static_cast<std::size_t>(arena.arena_class())] +=
        runtime::hasArena(own, i, role) ? arena.bytes() : 0;
  }
  memory.byClass[static_cast<std::size_t>(executable::ArenaClass::Communication)] +=
      runtime::serverRoom(plan, rank, role);
  memory.planned = plan.plannedBytes(rank, executable::MemoryTier::Device, role);
  for (const auto arenaClass : {executable::ArenaClass::Parameters, executable::ArenaClass::OptimizerState}) {
    const auto index = static_cast<std::size_t>(arenaClass);
    if (memory.offloaded[1][index] + memory.offloaded[2][index] > 0) {
      memory.saved +=
          static_cast<std::int64_t>(bytesOfShards(plan, rank, arenaClass) - memory.byClass[index]);
    }
  }
  memory.saved -=
      static_cast<std::int64_t>(memory.byClass[static_cast<std::size_t>(executable::ArenaClass::Windows)]);
  return memory;
}

/// Of `ranks` that have as much each.
static void add(PlanMemory &total, const PlanMemory &memory, int ranks) {
  const auto times = static_cast<std::uint64_t>(ranks);
  for (std::size_t i = 0; i < memory.byClass.size(); ++i) {
    total.byClass[i] += times * memory.byClass[i];
    for (std::size_t tier = 1; tier < static_cast<std::size_t>(kTiers); ++tier) {
      total.offloaded[tier][i] += times * memory.offloaded[tier][i];
    }
  }
  total.planned += times * memory.planned;
  total.saved += ranks * memory.saved;
}

PlanMemory totalMemory(const runtime::Executable &plan) {
  PlanMemory total;
  const runtime::Mesh mesh = plan.mesh();
  for (int rank = 0; rank < plan.rankCount(); ++rank) {
    add(total, rankMemory(plan, rank), mesh.perPipelineRank());
    if (mesh.servers > 0) {
      add(total, rankMemory(plan, rank, runtime::RankRole::Server), mesh.servers * mesh.tensor);
    }
  }
  return total;
}

std::string wireText(const executable::ResultContract &contract) {
  static constexpr const char *names[] = {"fp32", "fp16", "bf16"}; // of the file's DType
  return names[static_cast<int>(contract.gradient_wire())];
}

std::string compressionText(const executable::ResultContract &contract) {
  static constexpr const char *names[] = {"none", "top_k", "one_bit"}; // of the file's Compression
  return names[static_cast<int>(contract.gradient_compression())];
}

std::string className(int arenaClass) {
  // "OptimizerState" -> "optimizer state"
  std::string name;
  for (char c :
       std::string(executable::EnumNameArenaClass(static_cast<executable::ArenaClass>(arenaClass)))) {
    bool upper = c >= 'A' && c <= 'Z';
    name += upper && !name.empty() ? " " : "";
    name += upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return name;
}

std::string timelineText(const schedule::Timeline &timeline) {
  bool terminal = isatty(STDOUT_FILENO) == 1;
  winsize size{};
  bool known = terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40;
  return schedule::draw(timeline, known ? size.ws_col : 110, terminal && !std::getenv("NO_COLOR"));
}

} // namespace stagewright::program
