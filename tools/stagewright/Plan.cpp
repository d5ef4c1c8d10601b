#include "Plan.h"

#include "catalogue/Catalogue.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <sys/ioctl.h>
#include <unistd.h>

namespace stagewright::program {

std::uint64_t PlanMemory::rounding() const {
  return planned - std::accumulate(byClass.begin(), byClass.end(), std::uint64_t{0});
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

PlanMemory rankMemory(const runtime::Executable &plan, int rank) {
  PlanMemory memory;
  for (const executable::Arena *arena : *plan.rank(rank).arenas()) {
    const auto tier = static_cast<std::size_t>(arena->tier());
    (tier == 0 ? memory.byClass : memory.offloaded[tier])[static_cast<std::size_t>(arena->arena_class())] +=
        arena->bytes();
  }
  memory.planned = plan.plannedBytes(rank);
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

PlanMemory totalMemory(const runtime::Executable &plan) {
  PlanMemory total;
  for (int rank = 0; rank < plan.rankCount(); ++rank) {
    PlanMemory memory = rankMemory(plan, rank);
    for (std::size_t i = 0; i < memory.byClass.size(); ++i) {
      total.byClass[i] += memory.byClass[i];
    }
    total.planned += memory.planned;
    total.saved += memory.saved;
    for (int tier = 1; tier < kTiers; ++tier) {
      for (std::size_t i = 0; i < memory.byClass.size(); ++i) {
        total.offloaded[static_cast<std::size_t>(tier)][i] +=
            memory.offloaded[static_cast<std::size_t>(tier)][i];
      }
    }
  }
  const auto ranks = static_cast<std::uint64_t>(plan.mesh().perPipelineRank());
  for (std::uint64_t &bytes : total.byClass) {
    bytes *= ranks;
  }
  for (auto &classes : total.offloaded) {
    for (std::uint64_t &bytes : classes) {
      bytes *= ranks;
    }
  }
  total.planned *= ranks;
  total.saved *= static_cast<std::int64_t>(ranks);
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
