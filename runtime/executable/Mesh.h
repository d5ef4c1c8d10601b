// The ranks of a job: replicas (data parallel) of the ranks of a pipeline.
//
//                replica 0   replica 1
//   pipeline 0   rank 0      rank 1       each column runs the whole pipeline on its own samples,
//   pipeline 1   rank 2      rank 3       each row adds up the gradients of one pipeline rank
//
// The order of ranks is that of DeepSpeed's PipeDataParallelTopology.
#ifndef STAGEWRIGHT_RUNTIME_EXECUTABLE_MESH_H
#define STAGEWRIGHT_RUNTIME_EXECUTABLE_MESH_H

#include <string>

namespace stagewright::runtime {

struct Mesh {
  int pipeline = 1, replicas = 1;

  int size() const { return pipeline * replicas; }
  int rank(int pipelineRank, int replica) const { return pipelineRank * replicas + replica; }
  int pipelineRank(int rank) const { return rank / replicas; }
  int replica(int rank) const { return rank % replicas; }
  /// The ranks of a pipeline rank's replicas: "3", or "6-7".
  std::string ranksText(int pipelineRank) const {
    const std::string first = std::to_string(rank(pipelineRank, 0));
    return replicas == 1 ? first : first + "-" + std::to_string(rank(pipelineRank, replicas - 1));
  }
};

} // namespace stagewright::runtime

#endif
