// What cuDNN computes, on the host, by the plainest loops.
#ifndef STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATEDDNN_H
#define STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATEDDNN_H

#include "kernels/cuda/Api.h"

#include <span>

namespace stagewright::cuda::emulation {

// Operands as Api::run says. Sums are in fp32, those of attention in fp64.
void computeConvolution(const Convolution &convolution, std::span<void *const> operands);
void computeAttention(const Attention &attention, std::span<void *const> operands);

} // namespace stagewright::cuda::emulation

#endif
