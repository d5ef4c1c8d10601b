// Figures that several verbs print about a compiled plan.
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_PLAN_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_PLAN_H

#include "runtime/executable/Executable.h"
#include "schedule/Schedule.h"

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stagewright::program {

inline constexpr int kArenaClasses = static_cast<int>(executable::ArenaClass::MAX) + 1;

inline constexpr int kTiers = static_cast<int>(executable::MemoryTier::MAX) + 1;

/// Bytes of one rank, or of all.
struct PlanMemory {
  std::array<std::uint64_t, kArenaClasses> byClass{}; ///< in the device's memory, as the arenas are declared
  std::uint64_t planned = 0; ///< every such arena rounded up to whole pages: what is allocated
  std::array<std::array<std::uint64_t, kArenaClasses>, kTiers> offloaded{}; ///< in the other tiers
  std::int64_t saved =
      0; ///< what the device would have more if the same shards lay there: those that leave, less windows

  std::uint64_t rounding() const; ///< `planned` less the classes' sum
};

/// Of a rank that computes, or of a parameter server.
PlanMemory rankMemory(const runtime::Executable &plan, int rank, runtime::RankRole role);
inline PlanMemory rankMemory(const runtime::Executable &plan, int rank) {
  return rankMemory(plan, rank, plan.mesh().role(0));
}
PlanMemory totalMemory(const runtime::Executable &plan);

/// Whether the file has programs for the host and for nothing else.
bool isForHostAlone(const runtime::Executable &plan);

std::uint64_t elementsOf(const executable::Parameter &parameter);
/// What the replica with the most bytes has.
std::uint64_t largest(const std::map<int, std::uint64_t> &ofReplica);

/// "fp32", "fp16", "bf16": in what the gradients of replicas travel.
std::string wireText(const executable::ResultContract &contract);
/// "none", "top_k", "one_bit".
std::string compressionText(const executable::ResultContract &contract);

/// "activations", "optimizer state", ...
std::string className(int arenaClass);

/// One row per rank, as wide as the terminal that stdout is (else 110 columns), in colour there.
std::string timelineText(const schedule::Timeline &timeline);

} // namespace stagewright::program

#endif
