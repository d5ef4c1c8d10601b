// Family attention_grad: by cuDNN where it has a plan; else one launch for dq, and one for dk and dv, which
// reads g y^T of each row of scores that the first one leaves in the workspace.
#include "kernels/cuda/Attention.h"

#include "catalogue/CudaSums.h"

namespace stagewright::cuda {
namespace {

/// Workspace: the statistics, then cuDNN's own.
Result<void> attentionGradByDnn(const Enqueue &call, const DnnPlan &plan) {
  auto *const statistics = static_cast<float *>(call.workspace);
  if (auto ok = convertStatistics(call, 5, call.operand<float>(5), statistics, attentionScale(call.call, 1));
      !ok) {
    return ok;
  }
  const Call &sizes = call.call;
  const catalogue::AttentionScratch scratch =
      catalogue::attentionScratch(sizes.size(1, 0), sizes.size(1, 1), sizes.size(1, 2), sizes.size(2, 1),
                                  sizes.size(2, 2), sizes.size(1, 3));
  return call.run(plan,
                  {call.operand(0), call.operand(1), call.operand(2), call.operand(3), call.operand(4),
                   statistics, call.operand(6), call.operand(7), call.operand(8)},
                  static_cast<std::byte *>(call.workspace) + scratch.statistics);
}

Result<void> attentionGrad(const Enqueue &call, bool hasDropout) {
  if (!hasDropout) {
    auto plan = attentionPlan(call.call, true, call.cache);
    if (!plan) {
      return plan.takeError();
    }
    if (*plan) {
      return attentionGradByDnn(call, **plan);
    }
  }
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
    {"attention_grad", 1, [](const Enqueue &call) { return attentionGrad(call, false); },
     planAttention<true>},
    {"attention_dropout_grad", 1, [](const Enqueue &call) { return attentionGrad(call, true); }},
};

} // namespace

Family attentionGradFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
