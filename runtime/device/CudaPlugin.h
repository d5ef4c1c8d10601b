// The way to a GPU: opens the plug-in that has all of CUDA.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_CUDAPLUGIN_H
#define STAGEWRIGHT_RUNTIME_DEVICE_CUDAPLUGIN_H

#include "kernels/cuda/Api.h"

#include <memory>
#include <string>
#include <vector>

namespace stagewright::runtime {

/// A function table for rank `rank` of this machine, on GPU rank modulo the number of GPUs; this process has
/// `ranks`. `folders`: where libstagewright_cuda.so may be. Errors: Environment, there is no plug-in, no
/// driver or no GPU.
Result<std::unique_ptr<cuda::Api>> openCuda(const std::vector<std::string> &folders, int rank, int ranks);

/// Before anything starts CUDA, MPI too: streams that wait for other ranks must not hold up the rank's other
/// streams, so each gets a queue of its own (CUDA_DEVICE_MAX_CONNECTIONS, where it is not set).
void askForQueues();
/// Error: Environment, the user has set fewer than `streams` need.
Result<void> checkQueues(std::size_t streams);

} // namespace stagewright::runtime

#endif
