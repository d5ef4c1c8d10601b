// Family channel norm.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>

namespace stagewright::kernels {

namespace {

/// Calls body(element, sample, channel) for every element of [N,C,S].
template <typename Body>
void eachElement(const Values &v, const Body &body) {
  const std::size_t channels = std::size_t(v.size(0, 1)), positions = std::size_t(v.size(0, 2));
  for (std::size_t i = 0; i < v[0].size(); ++i)
    body(i, i / positions / channels, i / positions % channels);
}

std::vector<double> reciprocalRoots(const std::vector<double> &variances, double epsilon) {
  std::vector<double> out;
  for (double variance : variances)
    out.push_back(1 / std::sqrt(variance + epsilon));
  return out;
}

double parameter(const Values &v, std::size_t operand, std::size_t channel, double fallback) {
  return v.has(operand) ? v[operand][channel] : fallback;
}

/// Mean and variance of the elements that belong to each place of the statistics; place(sample, channel).
template <typename Place>
void statistics(const Values &v, std::vector<double> &means, std::vector<double> &variances,
                const Place &place) {
  const double count = double(v[0].size()) / double(means.size());
  std::vector<double> mean(means.size()), variance(means.size());
  eachElement(v, [&](auto i, auto sample, auto channel) { mean[place(sample, channel)] += v[0][i] / count; });
  eachElement(v, [&](auto i, auto sample, auto channel) {
    const double difference = v[0][i] - mean[place(sample, channel)];
    variance[place(sample, channel)] += difference * difference / count;
  });
  means = mean;
  variances = variance;
}

template <typename Place>
void normalise(const Values &v, std::size_t y, const std::vector<double> &means,
               const std::vector<double> &rstds, const Place &place, std::size_t weight = 4) {
  eachElement(v, [&](auto i, auto sample, auto channel) {
    const std::size_t at = place(sample, channel);
    v[y][i] = (v[0][i] - means[at]) * rstds[at] * parameter(v, weight, channel, 1) +
              parameter(v, weight + 1, channel, 0);
  });
}

/// dx = rstd (h - mean(h) - xhat mean(h xhat)) for h = weight g and xhat = (x - mean) rstd; the means are
/// over the elements that share statistics.
template <typename Place>
void normGrad(const Values &v, const std::vector<double> &rstds, const Place &place) {
  const double count = double(v[0].size()) / double(rstds.size());
  std::vector<double> plain(rstds.size()), projected(rstds.size());
  const auto normalised = [&](auto i, auto at) { return (v[1][i] - v[2][at]) * rstds[at]; };
  eachElement(v, [&](auto i, auto sample, auto channel) {
    const std::size_t at = place(sample, channel);
    const double h = parameter(v, 5, channel, 1) * v[0][i];
    plain[at] += h / count;
    projected[at] += h * normalised(i, at) / count;
  });
  eachElement(v, [&](auto i, auto sample, auto channel) {
    const std::size_t at = place(sample, channel);
    v[4][i] =
        rstds[at] * (parameter(v, 5, channel, 1) * v[0][i] - plain[at] - normalised(i, at) * projected[at]);
  });
}

template <typename Place>
void normWeightGrad(const Values &v, const std::vector<double> &rstds, const Place &place) {
  eachElement(v, [&](auto i, auto sample, auto channel) {
    const std::size_t at = place(sample, channel);
    v[4][channel] += v[0][i] * (v[1][i] - v[2][at]) * rstds[at];
  });
}

constexpr auto kOfChannel = [](std::size_t, std::size_t channel) { return channel; };

/// The place of a group's statistics in [N,G].
auto ofGroup(const Values &v) {
  const std::size_t groups = std::size_t(v.size(2, 1)), width = std::size_t(v.size(0, 1)) / groups;
  return [=](std::size_t sample, std::size_t channel) { return sample * groups + channel / width; };
}

void batchNorm(const Values &v) {
  statistics(v, v[2], v[3], kOfChannel);
  normalise(v, 1, v[2], reciprocalRoots(v[3], v.real("epsilon")), kOfChannel);
}

void batchNormUpdate(const Values &v) {
  v[4][0] += 1;
  const double momentum = v.real("momentum") < 0 ? 1 / v[4][0] : v.real("momentum");
  const double count = double(v.integer("count"));
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    v[2][i] = momentum * v[0][i] + (1 - momentum) * v[2][i];
    v[3][i] = momentum * v[1][i] * count / (count - 1) + (1 - momentum) * v[3][i];
  }
}

void batchNormInference(const Values &v) {
  normalise(v, 3, v[1], reciprocalRoots(v[2], v.real("epsilon")), kOfChannel);
}

void batchNormGrad(const Values &v) {
  normGrad(v, reciprocalRoots(v[3], v.real("epsilon")), kOfChannel);
}

void batchNormWeightGrad(const Values &v) {
  normWeightGrad(v, reciprocalRoots(v[3], v.real("epsilon")), kOfChannel);
}

void channelBiasGrad(const Values &v) {
  eachElement(v, [&](auto i, auto, auto channel) { v[1][channel] += v[0][i]; });
}

void channelMoments(const Values &v) {
  const std::size_t channels = std::size_t(v.size(0, 1));
  std::vector<double> means(channels), variances(channels);
  statistics(v, means, variances, kOfChannel);
  std::ranges::copy(means, v[1].begin());
  std::ranges::copy(variances, v[1].begin() + std::ptrdiff_t(channels));
}

/// By the mean of squares: E x^2 - (E x)^2 over all replicas.
void syncBatchNorm(const Values &v) {
  const std::size_t replicas = std::size_t(v.size(1, 0)), channels = std::size_t(v.size(0, 1));
  for (std::size_t channel = 0; channel < channels; ++channel) {
    double mean = 0, square = 0;
    for (std::size_t replica = 0; replica < replicas; ++replica) {
      const double *const moments = v[1].data() + 2 * replica * channels;
      mean += moments[channel] / double(replicas);
      square += (moments[channels + channel] + moments[channel] * moments[channel]) / double(replicas);
    }
    v[3][channel] = mean;
    v[4][channel] = square - mean * mean;
  }
  normalise(v, 2, v[3], reciprocalRoots(v[4], v.real("epsilon")), kOfChannel, 5);
}

void channelGradientMeans(const Values &v) {
  const std::size_t channels = std::size_t(v.size(0, 1));
  const double count = double(v[0].size()) / double(channels);
  std::ranges::fill(v[3], 0);
  eachElement(v, [&](auto i, auto, auto channel) {
    v[3][channel] += v[0][i] / count;
    v[3][channels + channel] += v[0][i] * (v[1][i] - v[2][channel]) / count;
  });
}

void syncBatchNormGrad(const Values &v) {
  const std::size_t replicas = std::size_t(v.size(4, 0)), channels = std::size_t(v.size(0, 1));
  eachElement(v, [&](auto i, auto, auto channel) {
    double plain = 0, projected = 0;
    for (std::size_t replica = 0; replica < replicas; ++replica) {
      plain += v[4][2 * replica * channels + channel] / double(replicas);
      projected += v[4][(2 * replica + 1) * channels + channel] / double(replicas);
    }
    const double variance = v[3][channel] + v.real("epsilon");
    v[5][i] = parameter(v, 6, channel, 1) / std::sqrt(variance) *
              (v[0][i] - plain - (v[1][i] - v[2][channel]) / variance * projected);
  });
}

void groupNorm(const Values &v) {
  statistics(v, v[2], v[3], ofGroup(v));
  v[3] = reciprocalRoots(v[3], v.real("epsilon"));
  normalise(v, 1, v[2], v[3], ofGroup(v));
}

void groupNormGrad(const Values &v) {
  normGrad(v, v[3], ofGroup(v));
}

void groupNormWeightGrad(const Values &v) {
  normWeightGrad(v, v[3], ofGroup(v));
}

constexpr ReferenceEntry kEntries[] = {
    {"batch_norm", batchNorm},
    {"batch_norm_update", batchNormUpdate},
    {"batch_norm_inference", batchNormInference},
    {"batch_norm_grad", batchNormGrad},
    {"batch_norm_weight_grad", batchNormWeightGrad},
    {"channel_bias_grad", channelBiasGrad},
    {"channel_moments", channelMoments},
    {"sync_batch_norm", syncBatchNorm},
    {"channel_gradient_means", channelGradientMeans},
    {"sync_batch_norm_grad", syncBatchNormGrad},
    {"group_norm", groupNorm},
    {"group_norm_grad", groupNormGrad},
    {"group_norm_weight_grad", groupNormWeightGrad},
};

} // namespace

ReferenceTable channelNormReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
