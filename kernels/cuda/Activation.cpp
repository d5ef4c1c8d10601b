// Family activation.
#include "kernels/cuda/Maps.h"

namespace stagewright::cuda {
namespace {

/// Attribute `approximate`, of gelu.
int approximation(const Enqueue &call) {
  return static_cast<int>(call.call.integers[0]);
}

const CudaKernel kKernels[] = {
    {"relu", 1, [](const Enqueue &call) { return map(call, "relu", {0}, {1}); }},
    {"relu_grad", 1,
     [](const Enqueue &call) {
       return map(call, "relu_grad", {0, 1}, {2});
     }},
    {"tanh", 1, [](const Enqueue &call) { return map(call, "tanh_forward", {0}, {1}); }},
    {"tanh_grad", 1,
     [](const Enqueue &call) {
       return map(call, "tanh_grad", {0, 1}, {2});
     }},
    {"gelu", 1, [](const Enqueue &call) { return map(call, "gelu", {0}, {1}, 0, approximation(call)); }},
    {"gelu_grad", 1,
     [](const Enqueue &call) {
       return map(call, "gelu_grad", {0, 1}, {2}, 0, approximation(call));
     }},
    {"silu", 1, [](const Enqueue &call) { return map(call, "silu", {0}, {1}); }},
    {"silu_grad", 1,
     [](const Enqueue &call) {
       return map(call, "silu_grad", {0, 1}, {2});
     }},
    {"sigmoid", 1, [](const Enqueue &call) { return map(call, "sigmoid", {0}, {1}); }},
    {"sigmoid_grad", 1,
     [](const Enqueue &call) {
       return map(call, "sigmoid_grad", {0, 1}, {2});
     }},
    {"swiglu", 1,
     [](const Enqueue &call) {
       return map(call, "swiglu", {0, 1}, {2});
     }},
    {"swiglu_grad", 1,
     [](const Enqueue &call) {
       return map(call, "swiglu_grad", {0, 1, 2}, {3, 4});
     }},
    {"copy", 1, [](const Enqueue &call) { return map(call, "copy", {0}, {1}); }},
};

} // namespace

Family activationFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
