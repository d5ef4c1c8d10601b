// The way to a GPU: opens the plug-in that has all of CUDA.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_CUDAPLUGIN_H
#define STAGEWRIGHT_RUNTIME_DEVICE_CUDAPLUGIN_H

#include "kernels/cuda/Api.h"

#include <memory>
#include <string>
#include <vector>

namespace stagewright::runtime {

/// A function table for rank `rank` of this machine, on GPU rank modulo the number of GPUs. `folders`: where
/// libstagewright_cuda.so may be. Errors: Environment, there is no plug-in, no driver or no GPU.
Result<std::unique_ptr<cuda::Api>> openCuda(const std::vector<std::string> &folders, int rank);

} // namespace stagewright::runtime

#endif
