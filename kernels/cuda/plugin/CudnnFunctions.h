// The functions of cuDNN that its headers call, which the plug-in defines: they hand on to a library that is
// opened on use. The headers' own way of opening it would also open a second CUDA runtime.
#ifndef STAGEWRIGHT_KERNELS_CUDA_PLUGIN_CUDNNFUNCTIONS_H
#define STAGEWRIGHT_KERNELS_CUDA_PLUGIN_CUDNNFUNCTIONS_H

#include "error/Error.h"

namespace stagewright::cuda {

/// Before any of them is called; may be called by several threads. Errors: Environment, cuDNN is not there.
Result<void> loadCudnn();

} // namespace stagewright::cuda

#endif
