// The ranks of a job by the axes of its mesh. Their order is that of DeepSpeed's
// PipeModelDataParallelTopology: pipeline, then data, then tensor ("model"). The replicas and tensor ranks of
// a pipeline rank have one plan. Parameter servers follow behind all of them.
#ifndef STAGEWRIGHT_RUNTIME_EXECUTABLE_MESH_H
#define STAGEWRIGHT_RUNTIME_EXECUTABLE_MESH_H

#include <string>

namespace stagewright::runtime {

/// Of a job without servers a rank runs its whole plan.
enum class RankRole { Complete, Replica, Server };

struct Mesh {
  int pipeline = 1, replicas = 1, tensor = 1;
  int servers = 0; ///< of each pipeline and tensor rank

  int perPipelineRank() const { return replicas * tensor; }
  /// Ranks that compute micro-batches, which come first, and all of them.
  int computing() const { return pipeline * perPipelineRank(); }
  int size() const { return computing() + pipeline * servers * tensor; }
  int rank(int pipelineRank, int replica, int tensorRank = 0) const {
    return (pipelineRank * replicas + replica) * tensor + tensorRank;
  }
  int serverRank(int pipelineRank, int server, int tensorRank = 0) const {
    return computing() + (pipelineRank * servers + server) * tensor + tensorRank;
  }
  bool isServer(int rank) const { return rank >= computing(); }
  int pipelineRank(int rank) const {
    return isServer(rank) ? (rank - computing()) / (servers * tensor) : rank / perPipelineRank();
  }
  RankRole role(int rank) const {
    return servers == 0 ? RankRole::Complete : isServer(rank) ? RankRole::Server : RankRole::Replica;
  }
  /// -1: a server.
  int replica(int rank) const { return isServer(rank) ? -1 : rank / tensor % replicas; }
  /// Whose part of the updates the rank makes: its replica's, or with servers its own; -1: none.
  int updater(int rank) const {
    return servers == 0 ? replica(rank) : isServer(rank) ? (rank - computing()) / tensor % servers : -1;
  }
  int tensorRank(int rank) const { return rank % tensor; }

  /// The servers of a pipeline rank.
  std::string serversText(int pipelineRank) const {
    const std::string first = std::to_string(serverRank(pipelineRank, 0));
    return servers * tensor == 1
               ? first
               : first + "-" + std::to_string(serverRank(pipelineRank, servers - 1, tensor - 1));
  }

  /// The ranks of a pipeline rank that compute: "3", or "6-7".
  std::string ranksText(int pipelineRank) const {
    const std::string first = std::to_string(rank(pipelineRank, 0));
    return perPipelineRank() == 1
               ? first
               : first + "-" + std::to_string(rank(pipelineRank, replicas - 1, tensor - 1));
  }
};

} // namespace stagewright::runtime

#endif
