// What calls of attention and of its gradient have in common.
#ifndef STAGEWRIGHT_KERNELS_CUDA_ATTENTION_H
#define STAGEWRIGHT_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/Dropout.h"
#include "kernels/cuda/Rows.h"
#include "kernels/cuda/device/AttentionArguments.h"

#include <cmath>

namespace stagewright::cuda {

/// `q`: the number of operand q.
inline float attentionScale(const Call &call, int q) {
  const auto scale = static_cast<float>(call.reals[1]);
  return scale != 0 ? scale : 1.0f / std::sqrt(static_cast<float>(call.size(q, 3)));
}

/// `q`: the number of operand q; k and v are the next. `after`: that of `random` and of the mask behind it;
/// without dropout of the mask.
inline AttentionArguments attentionArguments(const Enqueue &call, int q, int after, bool hasDropout) {
  AttentionArguments arguments{};
  arguments.batch = call.call.size(q, 0);
  arguments.queries = call.call.size(q, 1);
  arguments.heads = call.call.size(q, 2);
  arguments.width = call.call.size(q, 3);
  arguments.keys = call.call.size(q + 1, 1);
  arguments.keyHeads = call.call.size(q + 1, 2);
  arguments.scale = attentionScale(call.call, q);
  arguments.causal = call.call.integers[0] != 0;
  arguments.isAligned = arguments.width % packOf(call) == 0;
  arguments.q = call.operand(q);
  arguments.k = call.operand(q + 1);
  arguments.v = call.operand(q + 2);
  arguments.keyMask = call.operand<const std::int32_t>(hasDropout ? after + 1 : after);
  arguments.hasDropout = hasDropout;
  if (hasDropout) {
    arguments.numbers =
        dropoutNumbers(call.operand(after), call.call.reals[2], call.call.integers[3], call.call.integers[4]);
  }
  return arguments;
}

/// Kernel `name` for heads of this size, a block for each block of rows of `heads` heads of `length` rows.
inline Result<void> launchAttention(const Enqueue &call, const std::string &name,
                                    const AttentionArguments &arguments, std::int64_t length,
                                    std::int64_t heads) {
  const std::int64_t width = arguments.width, rows = attentionRows(width);
  const char *const size = width <= 64 ? "_64" : width <= 128 ? "_128" : width <= 256 ? "_256" : "_512";
  return call.launchTyped((name + size).c_str(),
                          blocksFor(arguments.batch * heads * ((length + rows - 1) / rows)), arguments);
}

/// cuDNN's plan for a call without dropout; null: it is run by kernels of ours. It has no products of f32 in
/// fp32 and knows lengths of keys, but no masks of them.
Result<const DnnPlan *> attentionPlan(const Call &call, bool isGradient, KernelCache &cache);

/// to[i] = from[i] * factor: cuDNN's statistics are log_sum_exp times the scale.
Result<void> convertStatistics(const Enqueue &call, int logSumExp, const float *from, float *to,
                               float factor);

/// The rest of a call's preparation.
template <bool IsGradient>
Result<Runner> planAttention(const Call &call, KernelCache &cache) {
  auto plan = attentionPlan(call, IsGradient, cache);
  if (!plan) {
    return plan.takeError();
  }
  return *plan ? Runner::Dnn : Runner::Own;
}

} // namespace stagewright::cuda

#endif
