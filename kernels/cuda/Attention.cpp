// Family attention: one launch.
#include "kernels/cuda/Attention.h"

namespace stagewright::cuda {
namespace {

Result<void> attention(const Enqueue &call, bool hasDropout) {
  AttentionArguments arguments = attentionArguments(call, 0, 5, hasDropout);
  arguments.y = call.operand(3);
  arguments.logSumExp = call.operand<float>(4);
  return launchAttention(call, "attention", arguments, arguments.queries, arguments.heads);
}

const CudaKernel kKernels[] = {
    {"attention", 1, [](const Enqueue &call) { return attention(call, false); }},
    {"attention_dropout", 1, [](const Enqueue &call) { return attention(call, true); }},
};

} // namespace

Family attentionFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
