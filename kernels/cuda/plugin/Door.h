// The door of the plug-in: the one symbol that libstagewright_cuda.so exports.
#ifndef STAGEWRIGHT_KERNELS_CUDA_PLUGIN_DOOR_H
#define STAGEWRIGHT_KERNELS_CUDA_PLUGIN_DOOR_H

#include "kernels/cuda/Api.h"

#include <memory>

namespace stagewright::cuda {

/// Counted up with every change of Api.h: program and plug-in are of one build.
inline constexpr int kTableVersion = 8;

inline constexpr const char *kOpenSymbol = "stagewright_cuda_open";

/// A table for rank `rank` of this machine, on GPU rank modulo the number of GPUs. `ranks`: of this process,
/// which copy from each other. Errors: Environment, no
/// driver, no GPU.
using OpenFunction = void (*)(int tableVersion, int rank, int ranks, Result<std::unique_ptr<Api>> *result);

} // namespace stagewright::cuda

#endif
