// Family softmax: one launch each.
#include "kernels/cuda/Rows.h"
#include "kernels/cuda/device/SoftmaxArguments.h"

namespace stagewright::cuda {
namespace {

Result<void> softmax(const Enqueue &call) {
  const RowLaunch rows = rowLaunch(call, call.call.size(0, 0), call.call.size(0, 1));
  return call.launchTyped("softmax", rows.grid,
                          SoftmaxArguments{rows.layout, call.operand(0), nullptr, call.operand(1)});
}

Result<void> softmaxGrad(const Enqueue &call) {
  const RowLaunch rows = rowLaunch(call, call.call.size(0, 0), call.call.size(0, 1));
  return call.launchTyped("softmax_grad", rows.grid,
                          SoftmaxArguments{rows.layout, call.operand(0), call.operand(1), call.operand(2)});
}

const CudaKernel kKernels[] = {{"softmax", 1, softmax}, {"softmax_grad", 1, softmaxGrad}};

} // namespace

Family softmaxFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
