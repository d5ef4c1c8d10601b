// Matrix products by cuBLASLt, which is opened when the first one is planned.
#ifndef STAGEWRIGHT_KERNELS_CUDA_PLUGIN_CUBLASLT_H
#define STAGEWRIGHT_KERNELS_CUDA_PLUGIN_CUBLASLT_H

#include "kernels/cuda/Api.h"

#include <cuda_runtime_api.h>

#include <memory>

namespace stagewright::cuda {

class CublasLt {
public:
  /// Errors: Environment, the library is not there or does not start.
  static Result<std::unique_ptr<CublasLt>> open();
  virtual ~CublasLt() = default;

  /// Null: there is no algorithm for the product's epilogue.
  virtual Result<void *> plan(const Product &product, std::size_t workspaceBytes) = 0;
  virtual Result<void> run(void *plan, const ProductOperands &operands, void *workspace,
                           cudaStream_t stream) = 0;
  virtual void destroy(void *plan) = 0;
};

} // namespace stagewright::cuda

#endif
