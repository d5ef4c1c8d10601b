// Of a rank, those that differ from it on one axis of the mesh.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_MESHGROUPS_H
#define STAGEWRIGHT_RUNTIME_EXEC_MESHGROUPS_H

#include "runtime/comm/Communicator.h"
#include "runtime/executable/Mesh.h"

#include <algorithm>

namespace stagewright::runtime {

inline RankGroup pipelineOf(const Mesh &mesh, int rank) {
  if (mesh.isServer(rank)) {
    const int each = mesh.servers * mesh.tensor;
    return {mesh.computing() + (rank - mesh.computing()) % each, each, mesh.pipeline};
  }
  return {rank % mesh.perPipelineRank(), mesh.perPipelineRank(), mesh.pipeline};
}
/// Of a server: those whose weights it has.
inline RankGroup replicasOf(const Mesh &mesh, int rank) {
  return {mesh.rank(mesh.pipelineRank(rank), 0, mesh.tensorRank(rank)), mesh.tensor, mesh.replicas};
}
/// Of a replica: those that have its weights. Not without servers.
inline RankGroup serversOf(const Mesh &mesh, int rank) {
  return {mesh.serverRank(mesh.pipelineRank(rank), 0, mesh.tensorRank(rank)), mesh.tensor, mesh.servers};
}
/// Of the replicas, those that divide weights between them, and those that have the same part: `group`
/// neighbours, and those with its number in other groups.
inline RankGroup shardGroupOf(const Mesh &mesh, int rank, int group) {
  const int size = std::min(group, mesh.replicas), replica = mesh.replica(rank);
  return {replicasOf(mesh, rank).at(replica - replica % size), mesh.tensor, size};
}
inline RankGroup sameShardOf(const Mesh &mesh, int rank, int group) {
  const int size = std::min(group, mesh.replicas);
  return {replicasOf(mesh, rank).at(mesh.replica(rank) % size), size * mesh.tensor, mesh.replicas / size};
}
inline RankGroup tensorRanksOf(const Mesh &mesh, int rank) {
  return {rank - mesh.tensorRank(rank), 1, mesh.tensor};
}

} // namespace stagewright::runtime

#endif
