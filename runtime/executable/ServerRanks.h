// What the ranks of a job with parameter servers do and hold. A plan with servers is that of one pipeline
// rank, as always: its replicas run what belongs to micro-batches, its servers what belongs to the update.
//
//   replica   PREPARE F B W ... REDUCE - NORM - ALL_GATHER ---------- GATHER
//                                 | gradients      | loss                ^ weights, norm
//   server                      REDUCE - NORM - ALL_GATHER - UPDATE - GATHER
//
// In NORM replicas make the mean of their losses, servers the partial sums of the norm.
#ifndef STAGEWRIGHT_RUNTIME_EXECUTABLE_SERVERRANKS_H
#define STAGEWRIGHT_RUNTIME_EXECUTABLE_SERVERRANKS_H

#include "runtime/executable/Executable.h"

namespace stagewright::runtime {

/// A server adds up so many bytes of all replicas at a time.
inline constexpr std::uint64_t kServerPart = std::uint64_t{1} << 20;
/// Steps that weights may be behind; more are refused.
inline constexpr int kMaxStaleness = 64;

/// Whether ranks of the role run programs of the kind; and in them the commands of one server, or (-1) those
/// of all ranks.
inline bool runs(RankRole role, executable::ProgramKind kind) {
  return role == RankRole::Complete || kind == executable::ProgramKind::Norm ||
         (kind == executable::ProgramKind::Update) == (role == RankRole::Server);
}
inline bool runs(RankRole role, executable::ProgramKind kind, int server) {
  return runs(role, kind) && (role != RankRole::Replica || server == -1);
}

/// Whether a rank has an arena of its plan.
bool hasArena(const executable::RankPlan &plan, unsigned arena, RankRole role);

/// Bytes that a rank has beside its arenas: of the last `staleness` steps what it has sent, and of a server,
/// what the replicas send it. Zero without servers.
std::uint64_t serverRoom(const Executable &executable, int pipelineRank, RankRole role);
/// Of these, what a rank sends in a step: of a server the most that one of them does.
std::uint64_t sentToServers(const Executable &executable, int pipelineRank);
std::uint64_t sentByServer(const Executable &executable, int pipelineRank);

/// What a step sends: gradient sums to a server, or weights from it to all replicas.
struct ServerPiece {
  int stage = 0, server = 0;
  unsigned arena = 0;
  std::uint64_t offset = 0, bytes = 0;
};
std::vector<ServerPiece> gradientsOfServers(const executable::RankPlan &plan);
std::vector<ServerPiece> weightsOfServers(const executable::RankPlan &plan);

} // namespace stagewright::runtime

#endif
