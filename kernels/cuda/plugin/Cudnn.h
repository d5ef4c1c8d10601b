// Convolutions and attention by cuDNN's graphs. The library is opened when the first one is planned; without
// it there are no plans.
#ifndef STAGEWRIGHT_KERNELS_CUDA_PLUGIN_CUDNN_H
#define STAGEWRIGHT_KERNELS_CUDA_PLUGIN_CUDNN_H

#include "kernels/cuda/Api.h"

#include <cuda_runtime_api.h>

#include <memory>

namespace stagewright::cuda {

class Cudnn {
public:
  /// Errors: Environment, it is not installed or does not start, or this build is without it.
  static Result<std::unique_ptr<Cudnn>> open();
  virtual ~Cudnn() = default;

  // As Api says.
  virtual DnnPlan plan(const Convolution &convolution, std::size_t workspaceBytes) = 0;
  virtual DnnPlan plan(const Attention &attention, std::size_t workspaceBytes) = 0;
  virtual Result<void> run(const DnnPlan &plan, std::span<void *const> operands, void *workspace,
                           cudaStream_t stream) = 0;
  virtual void destroy(const DnnPlan &plan) = 0;
};

} // namespace stagewright::cuda

#endif
