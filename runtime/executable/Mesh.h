// The ranks of a job by the axes of its mesh. Their order is that of DeepSpeed's
// PipeModelDataParallelTopology: pipeline, then data, then tensor ("model"). The replicas and tensor ranks of
// a pipeline rank have one plan.
#ifndef STAGEWRIGHT_RUNTIME_EXECUTABLE_MESH_H
#define STAGEWRIGHT_RUNTIME_EXECUTABLE_MESH_H

#include <string>

namespace stagewright::runtime {

struct Mesh {
  int pipeline = 1, replicas = 1, tensor = 1;

  int perPipelineRank() const { return replicas * tensor; }
  int size() const { return pipeline * perPipelineRank(); }
  int rank(int pipelineRank, int replica, int tensorRank = 0) const {
    return (pipelineRank * replicas + replica) * tensor + tensorRank;
  }
  int pipelineRank(int rank) const { return rank / perPipelineRank(); }
  int replica(int rank) const { return rank / tensor % replicas; }
  int tensorRank(int rank) const { return rank % tensor; }

  /// The ranks of a pipeline rank: "3", or "6-7".
  std::string ranksText(int pipelineRank) const {
    const std::string first = std::to_string(rank(pipelineRank, 0));
    return perPipelineRank() == 1
               ? first
               : first + "-" + std::to_string(rank(pipelineRank, replicas - 1, tensor - 1));
  }
};

} // namespace stagewright::runtime

#endif
