// Family activation.
#include "kernels/cuda/Maps.h"

namespace stagewright::cuda {
namespace {

const CudaKernel kKernels[] = {
    {"relu", 1, [](const Enqueue &call) { return map(call, "relu", {0}, {1}); }},
    {"relu_grad", 1,
     [](const Enqueue &call) {
       return map(call, "relu_grad", {0, 1}, {2});
     }},
};

} // namespace

Family activationFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
