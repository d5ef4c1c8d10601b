// Family masked_mean.
#include "kernels/cuda/Family.h"
#include "kernels/cuda/device/MaskedMeanArguments.h"

namespace stagewright::cuda {
namespace {

/// Operand `values` is the larger one, [samples, tokens, columns].
MaskedMeanArguments argumentsOf(const Enqueue &call, int values) {
  return {.x = call.operand(0),
          .mask = call.operand<const std::int32_t>(1),
          .y = call.operand(2),
          .samples = call.call.size(values, 0),
          .tokens = call.call.size(values, 1),
          .columns = call.call.size(values, 2),
          .epsilon = static_cast<float>(call.call.reals[0])};
}

/// Blocks for the parts of `size` that each sample's `whole` has.
Grid gridOf(const MaskedMeanArguments &arguments, std::int64_t whole, std::int64_t size) {
  constexpr unsigned kThreads = 256;
  return gridFor(arguments.samples * ((whole + size - 1) / size) * kThreads, kThreads);
}

Result<void> maskedMean(const Enqueue &call) {
  const MaskedMeanArguments arguments = argumentsOf(call, 0);
  return call.launchTyped("masked_mean", gridOf(arguments, arguments.columns, kMeanColumns), arguments);
}

Result<void> maskedMeanGrad(const Enqueue &call) {
  const MaskedMeanArguments arguments = argumentsOf(call, 2);
  return call.launchTyped("masked_mean_grad", gridOf(arguments, arguments.tokens, kMeanTokens), arguments);
}

const CudaKernel kKernels[] = {{"masked_mean", 1, maskedMean}, {"masked_mean_grad", 1, maskedMeanGrad}};

} // namespace

Family maskedMeanFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
