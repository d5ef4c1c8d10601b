// What cuBLASLt computes, on the host.
#ifndef STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATEDPRODUCT_H
#define STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATEDPRODUCT_H

#include "kernels/cuda/Api.h"

namespace stagewright::cuda::emulation {

/// Each element one chain of additions in fp32, in the order of k.
void computeProduct(const Product &product, const ProductOperands &operands);

} // namespace stagewright::cuda::emulation

#endif
