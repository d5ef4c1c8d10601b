#include "runtime/executable/ServerRanks.h"

#include <algorithm>

namespace stagewright::runtime {

using executable::ArenaClass;

/// Whether a call of NORM or UPDATE has an operand or its workspace there.
static bool updatesTouch(const executable::RankPlan &plan, unsigned arena) {
  for (const executable::Program *program : *plan.programs()) {
    for (const executable::Command *command : *program->commands()) {
      bool touches = command->workspace() > 0 && workspaceArena(plan) == static_cast<int>(arena);
      for (const executable::Operand *operand : *command->operands()) {
        touches = touches || operand->arena() == arena;
      }
      if (touches && runs(RankRole::Server, program->kind())) {
        return true;
      }
    }
  }
  return false;
}

bool hasArena(const executable::RankPlan &plan, unsigned arena, RankRole role) {
  const ArenaClass kind = plan.arenas()->Get(arena)->arena_class();
  switch (role) {
  case RankRole::Complete:
    return true;
  case RankRole::Replica:
    return kind != ArenaClass::OptimizerState;
  case RankRole::Server:
    return kind == ArenaClass::Parameters || kind == ArenaClass::Gradients ||
           kind == ArenaClass::OptimizerState || kind == ArenaClass::Scalars ||
           (kind == ArenaClass::Workspace && updatesTouch(plan, arena));
  }
  return false;
}

std::vector<ServerPiece> gradientsOfServers(const executable::RankPlan &plan) {
  std::vector<ServerPiece> pieces;
  for (unsigned i = 0; plan.reductions() && i < plan.reductions()->size(); ++i) {
    const executable::Reduction &sum = *plan.reductions()->Get(i);
    if (sum.replica() >= 0) {
      pieces.push_back({sum.stage(), sum.replica(), sum.arena(), sum.offset(), sum.bytes()});
    }
  }
  return pieces;
}

std::vector<ServerPiece> weightsOfServers(const executable::RankPlan &plan) {
  std::vector<ServerPiece> pieces;
  for (unsigned i = 0; plan.gathers() && i < plan.gathers()->size(); ++i) {
    const executable::ReplicaGather &piece = *plan.gathers()->Get(i);
    if (piece.task() == executable::TaskKind::Gather) {
      pieces.push_back({piece.stage(), piece.replica(), piece.arena(), piece.offset(), piece.bytes()});
    }
  }
  return pieces;
}

/// Of a scalar, if there is one.
static std::uint64_t bytesOf(const executable::RankPlan &plan, std::string_view name) {
  for (const executable::Scalar *scalar : *plan.scalars()) {
    if (scalar->name()->string_view() == name) {
      return catalogue::byteSize(static_cast<catalogue::DType>(scalar->dtype())) * scalar->count();
    }
  }
  return 0;
}

std::uint64_t sentToServers(const Executable &executable, int pipelineRank) {
  const executable::RankPlan &plan = executable.rank(pipelineRank);
  std::uint64_t bytes = catalogue::aligned(bytesOf(plan, "loss"));
  for (const ServerPiece &piece : gradientsOfServers(plan)) {
    bytes += catalogue::aligned(piece.bytes);
  }
  return bytes;
}

std::uint64_t sentByServer(const Executable &executable, int pipelineRank) {
  const executable::RankPlan &plan = executable.rank(pipelineRank);
  std::vector<std::uint64_t> ofServer(static_cast<std::size_t>(executable.mesh().servers), 0);
  for (const ServerPiece &piece : weightsOfServers(plan)) {
    ofServer[static_cast<std::size_t>(piece.server)] += catalogue::aligned(piece.bytes);
  }
  return *std::max_element(ofServer.begin(), ofServer.end()) +
         catalogue::aligned(bytesOf(plan, "gradient_norm"));
}

std::uint64_t serverRoom(const Executable &executable, int pipelineRank, RankRole role) {
  const auto steps = static_cast<std::uint64_t>(executable.file().contract()->staleness());
  const auto replicas = static_cast<std::uint64_t>(executable.mesh().replicas);
  switch (role) {
  case RankRole::Complete:
    return 0;
  case RankRole::Replica:
    return steps * sentToServers(executable, pipelineRank);
  case RankRole::Server:
    return steps * sentByServer(executable, pipelineRank) + 2 * replicas * kServerPart;
  }
  return 0;
}

} // namespace stagewright::runtime
