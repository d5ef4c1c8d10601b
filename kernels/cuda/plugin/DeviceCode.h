// The code for GPUs that the plug-in carries: one fat binary for each file of kernels/cuda/device.
#ifndef STAGEWRIGHT_KERNELS_CUDA_PLUGIN_DEVICECODE_H
#define STAGEWRIGHT_KERNELS_CUDA_PLUGIN_DEVICECODE_H

#include <cstddef>

namespace stagewright::cuda {

std::size_t deviceCodeCount();
const void *deviceCode(std::size_t index);

} // namespace stagewright::cuda

#endif
