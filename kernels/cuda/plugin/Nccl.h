// Messages between GPUs by NCCL. The library is opened when the first ranks connect.
#ifndef STAGEWRIGHT_KERNELS_CUDA_PLUGIN_NCCL_H
#define STAGEWRIGHT_KERNELS_CUDA_PLUGIN_NCCL_H

#include "kernels/cuda/Api.h"

#include <cuda_runtime_api.h>

#include <memory>

namespace stagewright::cuda {

class Nccl {
public:
  /// Errors: Environment, it is not installed, or this build is without it.
  static Result<std::unique_ptr<Nccl>> open();
  virtual ~Nccl() = default;

  // As Api says.
  virtual Result<ConnectionId> id() = 0;
  virtual Result<Connection> connect(const ConnectionId &id, int rank, int ranks, int mostBlocks) = 0;
  virtual Result<void> exchange(Connection connection, std::span<const Exchanged> messages,
                                cudaStream_t stream) = 0;
  virtual Result<void> failureOf(Connection connection) = 0;
  virtual void disconnect(Connection connection) = 0;
  virtual void abort(Connection connection) = 0;
};

} // namespace stagewright::cuda

#endif
