// Family attention_grad: one launch for dq, and one for dk and dv, which reads g y^T of each row of scores
// that the first one leaves in the workspace.
#include "kernels/cuda/Attention.h"

namespace stagewright::cuda {
namespace {

Result<void> attentionGrad(const Enqueue &call, bool hasDropout) {
  AttentionArguments arguments = attentionArguments(call, 1, 9, hasDropout);
  arguments.g = call.operand(0);
  arguments.forward = call.operand(4);
  arguments.logSumExp = call.operand<float>(5);
  arguments.dq = call.operand(6);
  arguments.dk = call.operand(7);
  arguments.dv = call.operand(8);
  arguments.products = static_cast<float *>(call.workspace);
  if (auto ok =
          launchAttention(call, "attention_grad_queries", arguments, arguments.queries, arguments.heads);
      !ok) {
    return ok;
  }
  return launchAttention(call, "attention_grad_keys", arguments, arguments.keys, arguments.keyHeads);
}

const CudaKernel kKernels[] = {
    {"attention_grad", 1, [](const Enqueue &call) { return attentionGrad(call, false); }},
    {"attention_dropout_grad", 1, [](const Enqueue &call) { return attentionGrad(call, true); }},
};

} // namespace

Family attentionGradFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
