// Two kernels of the catalogue as one product with an epilogue of cuBLASLt.
#ifndef STAGEWRIGHT_KERNELS_CUDA_FUSION_H
#define STAGEWRIGHT_KERNELS_CUDA_FUSION_H

#include "kernels/cuda/Cuda.h"

#include <array>
#include <optional>

namespace stagewright::cuda {

/// An operand of the first kernel (0) or the second (1), by its number in the catalogue; -1: absent.
struct FusedOperand {
  int kernel = -1, number = 0;
};

/// What the first kernel writes and the second reads, or what both read, is `shared` and has to be the same
/// memory.
///
///   linear             z = x w^T + b     gelu       y = gelu(z)          y, and z beside it
///   linear_input_grad  g' = g w          gelu_grad  dz = g' gelu'(z)     dz; g' is in no memory
///   linear_weight_grad acc += g^T x      bias_grad  acc += sums of g     acc, and sums into scratch
struct Fusion {
  Product product;
  FusedOperand a, b, d, bias;
  FusedOperand aux; ///< of RowSums absent: scratch
  std::array<FusedOperand, 2> shared;
};

/// Empty: these two are no such pair. GELU is that with tanh, which is all that cuBLASLt has.
std::optional<Fusion> fusionOf(const kernels::KernelInstance &first, const kernels::KernelInstance &second);

/// A product alone. Operands: a, b, d, bias, aux; its workspace has catalogue::kCudaWorkspace bytes. Null:
/// cuBLASLt has no algorithm for the epilogue.
Result<std::unique_ptr<PreparedKernel>> prepare(const Product &product, KernelCache &cache);

} // namespace stagewright::cuda

#endif
