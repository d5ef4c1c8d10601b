// Of a rank, those that differ from it on one axis of the mesh.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_MESHGROUPS_H
#define STAGEWRIGHT_RUNTIME_EXEC_MESHGROUPS_H

#include "runtime/comm/Communicator.h"
#include "runtime/executable/Mesh.h"

namespace stagewright::runtime {

inline RankGroup pipelineOf(const Mesh &mesh, int rank) {
  return {rank % mesh.perPipelineRank(), mesh.perPipelineRank(), mesh.pipeline};
}
inline RankGroup replicasOf(const Mesh &mesh, int rank) {
  return {mesh.rank(mesh.pipelineRank(rank), 0, mesh.tensorRank(rank)), mesh.tensor, mesh.replicas};
}
inline RankGroup tensorRanksOf(const Mesh &mesh, int rank) {
  return {rank - mesh.tensorRank(rank), 1, mesh.tensor};
}

} // namespace stagewright::runtime

#endif
