// Family attention: by cuDNN where it has a plan, else one launch.
#include "kernels/cuda/Attention.h"

#include "catalogue/CudaSums.h"
#include "kernels/cuda/Maps.h"

namespace stagewright::cuda {

Result<const DnnPlan *> attentionPlan(const Call &call, bool isGradient, KernelCache &cache) {
  const int q = isGradient ? 1 : 0, mask = isGradient ? 9 : 5;
  if (call.element == kernels::Element::F32 || call.operands[mask].present) {
    return nullptr;
  }
  Attention wanted;
  wanted.isGradient = isGradient;
  wanted.element = call.element;
  wanted.batch = call.size(q, 0);
  wanted.queries = call.size(q, 1);
  wanted.heads = call.size(q, 2);
  wanted.headSize = call.size(q, 3);
  wanted.keys = call.size(q + 1, 1);
  wanted.keyHeads = call.size(q + 1, 2);
  wanted.isCausal = call.integers[0] != 0;
  wanted.scale = attentionScale(call, q);
  const std::size_t scratch = isGradient
                                  ? catalogue::attentionScratch(wanted.batch, wanted.queries, wanted.heads,
                                                                wanted.keys, wanted.keyHeads, wanted.headSize)
                                        .library
                                  : 0;
  if (isGradient && scratch == 0) {
    return nullptr;
  }
  auto plan = cache.plan(wanted, scratch);
  if (!plan) {
    return plan.takeError();
  }
  return (*plan)->handle ? *plan : nullptr;
}

Result<void> convertStatistics(const Enqueue &call, int logSumExp, const float *from, float *to,
                               float factor) {
  MapArguments arguments{};
  arguments.inputs[0] = from;
  arguments.outputs[0] = to;
  arguments.elements = call.call.elements(logSumExp);
  arguments.number = factor;
  return call.launchTyped("scale", mapGrid(arguments.elements), arguments, kernels::Element::F32);
}

namespace {

Result<void> attentionByDnn(const Enqueue &call, const DnnPlan &plan) {
  auto *const logSumExp = call.operand<float>(4);
  auto done = call.run(plan, {call.operand(0), call.operand(1), call.operand(2), call.operand(3), logSumExp},
                       call.workspace);
  return done ? convertStatistics(call, 4, logSumExp, logSumExp, 1.0f / attentionScale(call.call, 0))
              : std::move(done);
}

Result<void> attention(const Enqueue &call, bool hasDropout) {
  if (!hasDropout) {
    auto plan = attentionPlan(call.call, false, call.cache);
    if (!plan) {
      return plan.takeError();
    }
    if (*plan) {
      return attentionByDnn(call, **plan);
    }
  }
  AttentionArguments arguments = attentionArguments(call, 0, 5, hasDropout);
  arguments.y = call.operand(3);
  arguments.logSumExp = call.operand<float>(4);
  return launchAttention(call, "attention", arguments, arguments.queries, arguments.heads);
}

const CudaKernel kKernels[] = {
    {"attention", 1, [](const Enqueue &call) { return attention(call, false); }, planAttention<false>},
    {"attention_dropout", 1, [](const Enqueue &call) { return attention(call, true); }},
};

} // namespace

Family attentionFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
