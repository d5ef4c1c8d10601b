#include "Plan.h"

#include <cstdlib>
#include <numeric>
#include <sys/ioctl.h>
#include <unistd.h>

namespace stagewright::program {

std::uint64_t PlanMemory::rounding() const {
  return planned - std::accumulate(byClass.begin(), byClass.end(), std::uint64_t{0});
}

PlanMemory rankMemory(const runtime::Executable &plan, int rank) {
  PlanMemory memory;
  for (const executable::Arena *arena : *plan.rank(rank).arenas()) {
    memory.byClass[static_cast<std::size_t>(arena->arena_class())] += arena->bytes();
  }
  memory.planned = plan.plannedBytes(rank);
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
  }
  const auto replicas = static_cast<std::uint64_t>(plan.mesh().replicas);
  for (std::uint64_t &bytes : total.byClass) {
    bytes *= replicas;
  }
  total.planned *= replicas;
  return total;
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
