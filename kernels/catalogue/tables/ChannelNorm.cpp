// Family channel norm: normalisation of [N,C,S], where S stands for all positions of one channel.
#include "catalogue/CudaSums.h"
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

/// batch_norm_update: the unbiased variance of one element does not exist.
static Result<void> checkCount(std::span<const Shape>, std::span<const Attribute> attributes) {
  if (integerAttribute(*find("batch_norm_update", 1), attributes, "count") < 2)
    return userError("kernel batch_norm_update",
                     "count, the number of elements per channel, must be at least 2",
                     "train with more than one value per channel");
  return {};
}

/// The channels of the first operand fall into as many groups as `mean` has columns.
static Result<void> checkGroups(const char *kernel, std::int64_t channels, std::int64_t groups) {
  if (channels % groups != 0)
    return userError(std::string("kernel ") + kernel, std::to_string(channels) +
                                                          " channels cannot be cut into " +
                                                          std::to_string(groups) + " groups of one size");
  return {};
}
static Result<void> checkGroupNorm(std::span<const Shape> shapes, std::span<const Attribute>) {
  return checkGroups("group_norm", shapes[0][1], shapes[2][1]);
}
static Result<void> checkGroupNormGrad(std::span<const Shape> shapes, std::span<const Attribute>) {
  return checkGroups("group_norm_grad", shapes[0][1], shapes[2][1]);
}
static Result<void> checkGroupNormWeightGrad(std::span<const Shape> shapes, std::span<const Attribute>) {
  return checkGroups("group_norm_weight_grad", shapes[0][1], shapes[2][1]);
}

/// CUDA: two fp64 numbers for each chunk of each channel of operand 0, when there are several chunks.
static std::size_t channelSums(std::span<const Shape> shapes, std::string_view target) {
  if (!isCuda(target) || shapes.empty() || shapes[0].size() != 3 || elements(shapes[0]) < 1 ||
      elements(shapes[0]) > kMaxElements)
    return 0;
  const std::int64_t chunks = channelChunks(shapes[0][0], shapes[0][2]).count;
  return chunks < 2 ? 0 : std::size_t(chunks) * std::size_t(shapes[0][1]) * 2 * sizeof(double);
}

std::vector<Kernel> channelNormKernels() {
  const AttributeRule epsilon{"epsilon", 1e-5};
  return {
      // The variance is that of the elements at hand (divided by their number).
      entry<"batch_norm", "x T[N,C,S] R, y T[N,C,S] W, mean f32[C] W, variance f32[C] W, weight f32[C] R?, "
                          "bias f32[C] R?">({epsilon}, {}, channelSums),
      // momentum < 0: a cumulative average.
      entry<"batch_norm_update", "mean f32[C] R, variance f32[C] R, running_mean f32[C] RW, "
                                 "running_var f32[C] RW, num_batches_tracked i64[1] RW">(
          {{"momentum", 0.1}, {"count", std::int64_t(0)}}, {}, nullptr, checkCount),
      entry<"batch_norm_inference", "x T[N,C,S] R, running_mean f32[C] R, running_var f32[C] R, "
                                    "y T[N,C,S] W, weight f32[C] R?, bias f32[C] R?">({epsilon}),
      entry<"batch_norm_grad", "g T[N,C,S] R, x T[N,C,S] R, mean f32[C] R, variance f32[C] R, dx T[N,C,S] W, "
                               "weight f32[C] R?">({epsilon}, {}, channelSums),
      entry<"batch_norm_weight_grad",
            "g T[N,C,S] R, x T[N,C,S] R, mean f32[C] R, variance f32[C] R, acc f32[C] RW">({epsilon}, {},
                                                                                           channelSums),
      entry<"channel_bias_grad", "g T[N,C,S] R, acc f32[C] RW">({}, {}, channelSums),
      // Statistics over the replicas of a group, of which each has as many elements. Rows of moments: mean
      // and
      // variance of the elements at hand.
      entry<"channel_moments", "x T[N,C,S] R, moments f32[2,C] W">({}, {}, channelSums),
      // moments: channel_moments of every replica. mean and variance are those of all their elements.
      entry<"sync_batch_norm", "x T[N,C,S] R, moments f32[D,2,C] R, y T[N,C,S] W, mean f32[C] W, "
                               "variance f32[C] W, weight f32[C] R?, bias f32[C] R?">({epsilon}),
      // Rows of means: of g and of g (x - mean), over the elements at hand.
      entry<"channel_gradient_means", "g T[N,C,S] R, x T[N,C,S] R, mean f32[C] R, means f32[2,C] W">(
          {}, {}, channelSums),
      // means: channel_gradient_means of every replica.
      entry<"sync_batch_norm_grad", "g T[N,C,S] R, x T[N,C,S] R, mean f32[C] R, variance f32[C] R, "
                                    "means f32[D,2,C] R, dx T[N,C,S] W, weight f32[C] R?">({epsilon}),
      entry<"group_norm", "x T[N,C,S] R, y T[N,C,S] W, mean f32[N,G] W, rstd f32[N,G] W, weight f32[C] R?, "
                          "bias f32[C] R?">({epsilon}, {}, nullptr, checkGroupNorm),
      entry<"group_norm_grad", "g T[N,C,S] R, x T[N,C,S] R, mean f32[N,G] R, rstd f32[N,G] R, dx T[N,C,S] W, "
                               "weight f32[C] R?">({}, {}, nullptr, checkGroupNormGrad),
      entry<"group_norm_weight_grad",
            "g T[N,C,S] R, x T[N,C,S] R, mean f32[N,G] R, rstd f32[N,G] R, acc f32[C] RW">(
          {}, {}, channelSums, checkGroupNormWeightGrad),
  };
}

} // namespace stagewright::catalogue
