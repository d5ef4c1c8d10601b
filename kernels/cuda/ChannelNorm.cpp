// Family channel norm. A channel of one chunk is one launch; of several, one that adds up chunks and one that
// adds them and applies what it gets.
#include "catalogue/CudaSums.h"
#include "kernels/cuda/Rows.h"
#include "kernels/cuda/device/ChannelNormArguments.h"

namespace stagewright::cuda {
namespace {

constexpr unsigned kThreads = 256, kThreadsSideBySide = 1024;

/// Of operand 0, [N,C,S].
ChannelLayout layoutOf(const Enqueue &call) {
  const std::int64_t samples = call.call.size(0, 0), positions = call.call.size(0, 2);
  const std::int64_t pack = packOf(call);
  const catalogue::ChannelChunks chunks = catalogue::channelChunks(samples, positions);
  ChannelLayout layout{};
  layout.samples = samples;
  layout.channels = call.call.size(0, 1);
  layout.positions = positions;
  layout.samplesOfChunk = chunks.samples;
  layout.positionsOfChunk = chunks.positions;
  layout.parts = chunks.parts;
  layout.chunks = chunks.count;
  layout.isAligned = positions % pack == 0;
  layout.channelLanes = positions == 1 ? 32 : 1;
  const std::int64_t pieces = layout.isAligned ? positions / pack : positions;
  layout.positionThreads = 1;
  while (layout.positionThreads < static_cast<int>(kThreads) && layout.positionThreads < pieces) {
    layout.positionThreads *= 2;
  }
  return layout;
}

Grid gridOf(const ChannelLayout &layout, std::int64_t chunks) {
  const std::int64_t blocks = (layout.channels + layout.channelLanes - 1) / layout.channelLanes;
  return blocksFor(chunks * blocks, layout.channelLanes == 1 ? kThreads : kThreadsSideBySide);
}

/// From elements, in one launch or two; from other sources in one. `isWhole`: all chunks have work to do in
/// the last launch.
template <typename Arguments>
Result<void> launchChunks(const Enqueue &call, const char *name, Arguments arguments, bool isWhole) {
  const std::int64_t chunks = arguments.layout.chunks;
  arguments.partials = static_cast<double *>(call.workspace);
  if (arguments.source == ChannelSource::Elements) {
    if (auto ok = call.launchTyped(name, gridOf(arguments.layout, chunks), arguments); !ok || chunks == 1) {
      return ok;
    }
    arguments.source = ChannelSource::Partials;
  }
  return call.launchTyped(name, gridOf(arguments.layout, isWhole ? chunks : 1), arguments);
}

ChannelNormArguments normArguments(const Enqueue &call, ChannelSource source) {
  ChannelNormArguments arguments{};
  arguments.layout = layoutOf(call);
  arguments.source = source;
  arguments.x = call.operand(0);
  arguments.epsilon = static_cast<float>(call.call.reals[0]);
  return arguments;
}

Result<void> batchNorm(const Enqueue &call) {
  ChannelNormArguments arguments = normArguments(call, ChannelSource::Elements);
  arguments.y = call.operand(1);
  arguments.meanOut = call.operand<float>(2);
  arguments.varianceOut = call.operand<float>(3);
  arguments.weight = call.operand<const float>(4);
  arguments.bias = call.operand<const float>(5);
  return launchChunks(call, "channel_norm", arguments, true);
}

Result<void> inference(const Enqueue &call) {
  ChannelNormArguments arguments = normArguments(call, ChannelSource::Given);
  arguments.mean = call.operand<const float>(1);
  arguments.variance = call.operand<const float>(2);
  arguments.y = call.operand(3);
  arguments.weight = call.operand<const float>(4);
  arguments.bias = call.operand<const float>(5);
  return launchChunks(call, "channel_norm", arguments, true);
}

Result<void> moments(const Enqueue &call) {
  ChannelNormArguments arguments = normArguments(call, ChannelSource::Elements);
  arguments.meanOut = call.operand<float>(1);
  arguments.varianceOut = arguments.meanOut + arguments.layout.channels;
  return launchChunks(call, "channel_norm", arguments, false);
}

Result<void> syncBatchNorm(const Enqueue &call) {
  ChannelNormArguments arguments = normArguments(call, ChannelSource::Replicas);
  arguments.ofReplicas = call.operand<const float>(1);
  arguments.replicas = static_cast<std::int32_t>(call.call.size(1, 0));
  arguments.y = call.operand(2);
  arguments.meanOut = call.operand<float>(3);
  arguments.varianceOut = call.operand<float>(4);
  arguments.weight = call.operand<const float>(5);
  arguments.bias = call.operand<const float>(6);
  return launchChunks(call, "channel_norm", arguments, true);
}

ChannelGradArguments gradArguments(const Enqueue &call, ChannelResult result) {
  ChannelGradArguments arguments{};
  arguments.layout = layoutOf(call);
  arguments.source = ChannelSource::Elements;
  arguments.result = result;
  arguments.g = call.operand(0);
  arguments.epsilon = static_cast<float>(call.call.reals[0]);
  return arguments;
}

/// Operands g, x, mean, variance.
ChannelGradArguments batchGradArguments(const Enqueue &call, ChannelResult result) {
  ChannelGradArguments arguments = gradArguments(call, result);
  arguments.x = call.operand(1);
  arguments.mean = call.operand<const float>(2);
  arguments.variance = call.operand<const float>(3);
  return arguments;
}

Result<void> batchNormGrad(const Enqueue &call) {
  ChannelGradArguments arguments = batchGradArguments(call, ChannelResult::InputGrad);
  arguments.dx = call.operand(4);
  arguments.weight = call.operand<const float>(5);
  return launchChunks(call, "channel_grad", arguments, true);
}

Result<void> batchNormWeightGrad(const Enqueue &call) {
  ChannelGradArguments arguments = batchGradArguments(call, ChannelResult::WeightGrad);
  arguments.acc = call.operand<float>(4);
  return launchChunks(call, "channel_grad", arguments, false);
}

Result<void> biasGrad(const Enqueue &call) {
  ChannelGradArguments arguments = gradArguments(call, ChannelResult::BiasGrad);
  arguments.acc = call.operand<float>(1);
  return launchChunks(call, "channel_grad", arguments, false);
}

Result<void> gradientMeans(const Enqueue &call) {
  ChannelGradArguments arguments = gradArguments(call, ChannelResult::Means);
  arguments.x = call.operand(1);
  arguments.mean = call.operand<const float>(2);
  arguments.means = call.operand<float>(3);
  return launchChunks(call, "channel_grad", arguments, false);
}

Result<void> syncBatchNormGrad(const Enqueue &call) {
  ChannelGradArguments arguments = batchGradArguments(call, ChannelResult::InputGrad);
  arguments.source = ChannelSource::Replicas;
  arguments.ofReplicas = call.operand<const float>(4);
  arguments.replicas = static_cast<std::int32_t>(call.call.size(4, 0));
  arguments.dx = call.operand(5);
  arguments.weight = call.operand<const float>(6);
  return launchChunks(call, "channel_grad", arguments, true);
}

Result<void> groupNormWeightGrad(const Enqueue &call) {
  ChannelGradArguments arguments = gradArguments(call, ChannelResult::WeightGrad);
  arguments.groups = call.call.size(2, 1);
  arguments.x = call.operand(1);
  arguments.mean = call.operand<const float>(2);
  arguments.rstd = call.operand<const float>(3);
  arguments.acc = call.operand<float>(4);
  return launchChunks(call, "channel_grad", arguments, false);
}

struct GroupLaunch {
  GroupNormArguments arguments;
  Grid grid;
};

/// Operand 2 is [N,G].
GroupLaunch groupLaunch(const Enqueue &call) {
  const std::int64_t groups = call.call.size(2, 1), positions = call.call.size(0, 2);
  GroupNormArguments arguments{};
  arguments.groups = groups;
  arguments.channels = call.call.size(0, 1) / groups;
  arguments.positions = positions;
  arguments.mean = call.operand<float>(2);
  arguments.rstd = call.operand<float>(3);
  arguments.epsilon = static_cast<float>(call.call.reals[0]);
  const RowLaunch rows = rowLaunch(call, call.call.size(0, 0) * groups, arguments.channels * positions);
  arguments.layout = rows.layout;
  arguments.layout.isAligned = positions % packOf(call) == 0; // no piece has elements of two channels
  return {arguments, rows.grid};
}

Result<void> groupNorm(const Enqueue &call) {
  auto [arguments, grid] = groupLaunch(call);
  arguments.x = call.operand(0);
  arguments.y = call.operand(1);
  arguments.weight = call.operand<const float>(4);
  arguments.bias = call.operand<const float>(5);
  return call.launchTyped("group_norm", grid, arguments);
}

Result<void> groupNormGrad(const Enqueue &call) {
  auto [arguments, grid] = groupLaunch(call);
  arguments.g = call.operand(0);
  arguments.x = call.operand(1);
  arguments.y = call.operand(4);
  arguments.weight = call.operand<const float>(5);
  return call.launchTyped("group_norm_grad", grid, arguments);
}

Result<void> batchNormUpdate(const Enqueue &call) {
  const double count = static_cast<double>(call.call.integers[1]);
  return call.launch("batch_norm_update", blocksFor(1, 1024),
                     BatchNormUpdateArguments{.channels = call.call.elements(0),
                                              .mean = call.operand<const float>(0),
                                              .variance = call.operand<const float>(1),
                                              .runningMean = call.operand<float>(2),
                                              .runningVariance = call.operand<float>(3),
                                              .batches = call.operand<std::int64_t>(4),
                                              .momentum = call.call.reals[0],
                                              .unbiased = count / (count - 1)});
}

const CudaKernel kKernels[] = {
    {"batch_norm", 1, batchNorm},
    {"batch_norm_update", 1, batchNormUpdate},
    {"batch_norm_inference", 1, inference},
    {"batch_norm_grad", 1, batchNormGrad},
    {"batch_norm_weight_grad", 1, batchNormWeightGrad},
    {"channel_bias_grad", 1, biasGrad},
    {"channel_moments", 1, moments},
    {"sync_batch_norm", 1, syncBatchNorm},
    {"channel_gradient_means", 1, gradientMeans},
    {"sync_batch_norm_grad", 1, syncBatchNormGrad},
    {"group_norm", 1, groupNorm},
    {"group_norm_grad", 1, groupNormGrad},
    {"group_norm_weight_grad", 1, groupNormWeightGrad},
};

} // namespace

Family channelNormFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
