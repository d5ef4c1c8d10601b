// Family channel norm: normalisation of [N,C,S] over channels (batch_norm) and over groups of channels of one
// sample (group_norm). docs/kernels.md has the order of the sums.
#include "kernels/host/LaneSums.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

STAGEWRIGHT_INLINE Vec16 narrow(Double16 a) {
  return __builtin_convertvector(a, Vec16);
}
STAGEWRIGHT_INLINE Vec16 splatLane(double a) {
  return splat(float(a));
}

/// One channel of [N,C,S]: rows of S elements, one for each sample. Values of the channel are the same in all
/// lanes.
struct ChannelOfRows {
  std::int64_t samples, channels, positions, channel;

  STAGEWRIGHT_INLINE Range row(std::int64_t sample) const {
    const std::int64_t begin = (sample * channels + channel) * positions;
    return {begin, begin + positions};
  }
  STAGEWRIGHT_INLINE Vec16 get(const float *perChannel) const { return splat(perChannel[channel]); }
  STAGEWRIGHT_INLINE void set(float *perChannel, Vec16 value) const { perChannel[channel] = value[0]; }
  template <typename Body>
  STAGEWRIGHT_INLINE void each(const Body &body) const {
    for (std::int64_t sample = 0; sample < samples; ++sample)
      eachVector(row(sample), body);
  }
  /// means[k] = sum of f's value k over the channel / scale.
  template <int Count, typename Function>
  STAGEWRIGHT_INLINE void means(Vec16 (&means)[Count], const Function &f) const {
    Double16 totals[Count] = {};
    for (std::int64_t sample = 0; sample < samples; ++sample)
      addRange(row(sample), totals, f);
    for (int k = 0; k < Count; ++k)
      means[k] = splatLane(sumLanes(totals[k]) / double(samples * positions));
  }
  /// The sum of f over one sample.
  template <typename Function>
  STAGEWRIGHT_INLINE Vec16 sumOfSample(std::int64_t sample, const Function &f) const {
    Double16 total[1] = {};
    addRange(row(sample), total, f);
    return splatLane(sumLanes(total[0]));
  }
};

/// Up to sixteen channels of [N,C,1], one in each lane.
template <typename Lanes>
struct ChannelsInLanes {
  std::int64_t samples, channels, channel;
  Lanes lanes;

  STAGEWRIGHT_INLINE Vec16 get(const float *perChannel) const { return read(perChannel + channel, lanes); }
  STAGEWRIGHT_INLINE void set(float *perChannel, Vec16 value) const {
    write(perChannel + channel, value, lanes);
  }
  template <typename Body>
  STAGEWRIGHT_INLINE void each(const Body &body) const {
    for (std::int64_t sample = 0; sample < samples; ++sample)
      body(sample * channels + channel, lanes);
  }
  template <int Count, typename Function>
  STAGEWRIGHT_INLINE void means(Vec16 (&means)[Count], const Function &f) const {
    Double16 totals[Count] = {};
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      Vec16 values[Count];
      f(sample * channels + channel, lanes, values);
      for (int k = 0; k < Count; ++k)
        totals[k] += widen(values[k]);
    }
    for (int k = 0; k < Count; ++k)
      means[k] = narrow(totals[k] / double(samples));
  }
  template <typename Function>
  STAGEWRIGHT_INLINE Vec16 sumOfSample(std::int64_t sample, const Function &f) const {
    Vec16 value[1];
    f(sample * channels + channel, lanes, value);
    return value[0];
  }
};

/// Calls body(channel) for all channels of the operand [N,C,S], as ChannelOfRows or as ChannelsInLanes.
template <typename Body>
STAGEWRIGHT_INLINE void runChannels(const CallOperand &operand, TileRunner &runner, const Body &body) {
  const std::int64_t samples = operand.sizes[0], channels = operand.sizes[1], positions = operand.sizes[2];
  const std::int64_t units = positions == 1 ? ceilDivide(channels, kLanes) : channels;
  const std::int64_t tiles = least(units, elementTiles(operand.elements));
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    const Range range = part(units, tiles, index);
    if (positions == 1)
      eachVector({range.begin * kLanes, least(channels, range.end * kLanes)},
                 [&](std::int64_t channel, auto lanes) {
                   body(ChannelsInLanes<decltype(lanes)>{samples, channels, channel, lanes});
                 });
    else
      for (std::int64_t channel = range.begin; channel < range.end; ++channel)
        body(ChannelOfRows{samples, channels, positions, channel});
  });
}

/// An optional operand; null when it is absent.
STAGEWRIGHT_INLINE const float *floats(const Call &call, void *const *operands, int operand) {
  return call.operands[operand].present ? static_cast<const float *>(operands[operand]) : nullptr;
}
STAGEWRIGHT_INLINE Vec16 reciprocalRoot(Vec16 variance, double epsilon) {
  return 1.0f / squareRoot(variance + splat(float(epsilon)));
}

/// y = (x - mean) * (rstd * weight) + bias for one channel or sixteen.
template <typename T, typename Channel>
STAGEWRIGHT_INLINE void normaliseChannel(const Channel &channel, const T *x, T *y, Vec16 mean, Vec16 rstd,
                                         const float *weight, const float *bias) {
  const Vec16 factor = weight ? rstd * channel.get(weight) : rstd;
  const Vec16 shift = bias ? channel.get(bias) : Vec16{};
  channel.each([&](std::int64_t i, auto lanes) {
    write(y + i, fma(read(x + i, lanes) - mean, factor, shift), lanes);
  });
}

template <typename T, typename Channel>
STAGEWRIGHT_INLINE void channelStatistics(const Channel &channel, const T *x, Vec16 (&mean)[1],
                                          Vec16 (&variance)[1]) {
  channel.means(mean, [&](std::int64_t i, auto lanes, Vec16 *out) { out[0] = read(x + i, lanes); });
  channel.means(variance, [&](std::int64_t i, auto lanes, Vec16 *out) {
    const Vec16 difference = read(x + i, lanes) - mean[0];
    out[0] = difference * difference;
  });
}

/// out[0] = mean of g, out[1] = mean of g * (x - mean).
template <typename T, typename Channel>
STAGEWRIGHT_INLINE void gradientMeans(const Channel &channel, const T *g, const T *x, Vec16 mean,
                                      Vec16 (&out)[2]) {
  channel.means(out, [&](std::int64_t i, auto lanes, Vec16 *values) {
    values[0] = read(g + i, lanes);
    values[1] = values[0] * (read(x + i, lanes) - mean);
  });
}

/// dx of one channel or sixteen, by gradientMeans over all elements that share statistics.
template <typename T, typename Channel>
STAGEWRIGHT_INLINE void channelInputGradient(const Channel &channel, const T *g, const T *x, T *dx,
                                             Vec16 mean, Vec16 rstd, const Vec16 (&ofGradient)[2],
                                             const float *weight) {
  const Vec16 slope = ofGradient[1] * rstd * rstd, factor = weight ? rstd * channel.get(weight) : rstd;
  channel.each([&](std::int64_t i, auto lanes) {
    const Vec16 centred = read(x + i, lanes) - mean;
    write(dx + i, fma(-centred, slope, read(g + i, lanes) - ofGradient[0]) * factor, lanes);
  });
}

template <typename T>
void batchNorm(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  float *const means = static_cast<float *>(operands[2]), *const variances =
                                                              static_cast<float *>(operands[3]);
  const float *const weight = floats(call, operands, 4), *const bias = floats(call, operands, 5);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    Vec16 mean[1], variance[1];
    channelStatistics(channel, x, mean, variance);
    channel.set(means, mean[0]);
    channel.set(variances, variance[0]);
    normaliseChannel(channel, x, y, mean[0], reciprocalRoot(variance[0], call.reals[0]), weight, bias);
  });
}

template <typename T>
void batchNormGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]), *const x = static_cast<const T *>(operands[1]);
  const float *const means = static_cast<const float *>(operands[2]), *const variances =
                                                                          static_cast<const float *>(
                                                                              operands[3]);
  T *const dx = static_cast<T *>(operands[4]);
  const float *const weight = floats(call, operands, 5);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    const Vec16 mean = channel.get(means), rstd = reciprocalRoot(channel.get(variances), call.reals[0]);
    Vec16 ofGradient[2];
    gradientMeans(channel, g, x, mean, ofGradient);
    channelInputGradient(channel, g, x, dx, mean, rstd, ofGradient, weight);
  });
}

template <typename T>
void batchNormWeightGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]), *const x = static_cast<const T *>(operands[1]);
  const float *const means = static_cast<const float *>(operands[2]), *const variances =
                                                                          static_cast<const float *>(
                                                                              operands[3]);
  float *const acc = static_cast<float *>(operands[4]);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    const Vec16 mean = channel.get(means), rstd = reciprocalRoot(channel.get(variances), call.reals[0]);
    Vec16 sum = channel.get(acc);
    for (std::int64_t sample = 0; sample < channel.samples; ++sample)
      sum = fma(channel.sumOfSample(sample,
                                    [&](std::int64_t i, auto lanes, Vec16 *out) {
                                      out[0] = read(g + i, lanes) * (read(x + i, lanes) - mean);
                                    }),
                rstd, sum);
    channel.set(acc, sum);
  });
}

template <typename T>
void channelBiasGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]);
  float *const acc = static_cast<float *>(operands[1]);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    Vec16 sum = channel.get(acc);
    for (std::int64_t sample = 0; sample < channel.samples; ++sample)
      sum = sum + channel.sumOfSample(
                      sample, [&](std::int64_t i, auto lanes, Vec16 *out) { out[0] = read(g + i, lanes); });
    channel.set(acc, sum);
  });
}

/// running = momentum * of the batch + (1 - momentum) * running, in fp64.
void batchNormUpdate(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const mean = static_cast<const float *>(operands[0]), *const variance =
                                                                         static_cast<const float *>(
                                                                             operands[1]);
  float *const runningMean = static_cast<float *>(operands[2]), *const runningVariance =
                                                                    static_cast<float *>(operands[3]);
  std::int64_t &batches = *static_cast<std::int64_t *>(operands[4]);
  ++batches;
  const double momentum = call.reals[0] < 0 ? 1.0 / double(batches) : call.reals[0];
  const double unbiased = double(call.integers[1]) / double(call.integers[1] - 1);
  const auto blend = [=](float *running, const float *batch, double factor, std::int64_t i, auto lanes) {
    const Double16 value = widen(read(batch + i, lanes)) * factor;
    write(running + i, narrow(value * momentum + widen(read(running + i, lanes)) * (1.0 - momentum)), lanes);
  };
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      blend(runningMean, mean, 1.0, i, lanes);
      blend(runningVariance, variance, unbiased, i, lanes);
    });
  });
}

template <typename T>
void batchNormInference(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  const float *const means = static_cast<const float *>(operands[1]), *const variances =
                                                                          static_cast<const float *>(
                                                                              operands[2]);
  T *const y = static_cast<T *>(operands[3]);
  const float *const weight = floats(call, operands, 4), *const bias = floats(call, operands, 5);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    normaliseChannel(channel, x, y, channel.get(means), reciprocalRoot(channel.get(variances), call.reals[0]),
                     weight, bias);
  });
}

// ---- Statistics over replicas: [replicas, 2, C] holds two rows of each ----

/// The mean over replicas of row `row`, added in their order.
template <typename Channel>
STAGEWRIGHT_INLINE Double16 meanOfReplicas(const Channel &channel, const float *rows, std::int64_t replicas,
                                           int row) {
  Double16 total = {};
  for (std::int64_t replica = 0; replica < replicas; ++replica)
    total += widen(channel.get(rows + (2 * replica + row) * channel.channels));
  return total / double(replicas);
}

template <typename T>
void channelMoments(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  float *const moments = static_cast<float *>(operands[1]);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    Vec16 mean[1], variance[1];
    channelStatistics(channel, x, mean, variance);
    channel.set(moments, mean[0]);
    channel.set(moments + channel.channels, variance[0]);
  });
}

/// Variance of all = mean of (variance of a replica + (its mean - mean of all)^2): all have as many elements.
template <typename T>
void syncBatchNorm(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  const float *const moments = static_cast<const float *>(operands[1]);
  T *const y = static_cast<T *>(operands[2]);
  float *const means = static_cast<float *>(operands[3]), *const variances =
                                                              static_cast<float *>(operands[4]);
  const float *const weight = floats(call, operands, 5), *const bias = floats(call, operands, 6);
  const std::int64_t replicas = call.size(1, 0);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    const Vec16 mean = narrow(meanOfReplicas(channel, moments, replicas, 0));
    Double16 between = {};
    for (std::int64_t replica = 0; replica < replicas; ++replica) {
      const Double16 difference = widen(channel.get(moments + 2 * replica * channel.channels)) - widen(mean);
      between += difference * difference;
    }
    const Vec16 variance = narrow(meanOfReplicas(channel, moments, replicas, 1) + between / double(replicas));
    channel.set(means, mean);
    channel.set(variances, variance);
    normaliseChannel(channel, x, y, mean, reciprocalRoot(variance, call.reals[0]), weight, bias);
  });
}

template <typename T>
void channelGradientMeans(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]), *const x = static_cast<const T *>(operands[1]);
  const float *const mean = static_cast<const float *>(operands[2]);
  float *const means = static_cast<float *>(operands[3]);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    Vec16 ofGradient[2];
    gradientMeans(channel, g, x, channel.get(mean), ofGradient);
    channel.set(means, ofGradient[0]);
    channel.set(means + channel.channels, ofGradient[1]);
  });
}

template <typename T>
void syncBatchNormGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]), *const x = static_cast<const T *>(operands[1]);
  const float *const means = static_cast<const float *>(operands[2]),
                     *const variances = static_cast<const float *>(operands[3]),
                     *const ofReplicas = static_cast<const float *>(operands[4]);
  T *const dx = static_cast<T *>(operands[5]);
  const float *const weight = floats(call, operands, 6);
  const std::int64_t replicas = call.size(4, 0);
  runChannels(call.operands[0], runner, [&](const auto &channel) {
    const Vec16 rstd = reciprocalRoot(channel.get(variances), call.reals[0]);
    const Vec16 ofGradient[2] = {narrow(meanOfReplicas(channel, ofReplicas, replicas, 0)),
                                 narrow(meanOfReplicas(channel, ofReplicas, replicas, 1))};
    channelInputGradient(channel, g, x, dx, channel.get(means), rstd, ofGradient, weight);
  });
}

// ---- Groups of channels of one sample: their elements lie side by side ----

/// Group `index` of all samples' groups.
struct Group {
  std::int64_t index, begin, positions;
  Range channels;
  double count;

  STAGEWRIGHT_INLINE Range all() const { return {begin, begin + channels.size() * positions}; }
  /// Calls body(channel, elements) for each channel.
  template <typename Body>
  STAGEWRIGHT_INLINE void eachChannel(const Body &body) const {
    for (std::int64_t channel = channels.begin; channel < channels.end; ++channel) {
      const std::int64_t first = begin + (channel - channels.begin) * positions;
      body(channel, Range{first, first + positions});
    }
  }
};

/// Calls body(group) for all groups; the first operand is [N,C,S] and the third [N,G].
template <typename Body>
STAGEWRIGHT_INLINE void runGroups(const Call &call, TileRunner &runner, const Body &body) {
  const std::int64_t groups = call.size(2, 1), width = call.size(0, 1) / groups, positions = call.size(0, 2);
  const std::int64_t units = call.size(0, 0) * groups, tiles = least(units, elementTiles(call.elements(0)));
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    const Range range = part(units, tiles, index);
    for (std::int64_t group = range.begin; group < range.end; ++group) {
      const std::int64_t channel = group % groups * width;
      body(Group{group,
                 group * width * positions,
                 positions,
                 {channel, channel + width},
                 double(width * positions)});
    }
  });
}

template <typename T>
void groupNorm(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  float *const means = static_cast<float *>(operands[2]), *const rstds = static_cast<float *>(operands[3]);
  const float *const weight = floats(call, operands, 4), *const bias = floats(call, operands, 5);
  runGroups(call, runner, [&](const Group &group) {
    Double16 total[1] = {}, squares[1] = {};
    addRange(group.all(), total,
             [&](std::int64_t i, auto lanes, Vec16 *out) { out[0] = read(x + i, lanes); });
    const Vec16 mean = splatLane(sumLanes(total[0]) / group.count);
    addRange(group.all(), squares, [&](std::int64_t i, auto lanes, Vec16 *out) {
      const Vec16 difference = read(x + i, lanes) - mean;
      out[0] = difference * difference;
    });
    const Vec16 rstd = reciprocalRoot(splatLane(sumLanes(squares[0]) / group.count), call.reals[0]);
    means[group.index] = mean[0];
    rstds[group.index] = rstd[0];
    group.eachChannel([&](std::int64_t channel, Range elements) {
      const Vec16 factor = weight ? rstd * splat(weight[channel]) : rstd,
                  shift = bias ? splat(bias[channel]) : Vec16{};
      eachVector(elements, [&](std::int64_t i, auto lanes) {
        write(y + i, fma(read(x + i, lanes) - mean, factor, shift), lanes);
      });
    });
  });
}

template <typename T>
void groupNormGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]), *const x = static_cast<const T *>(operands[1]);
  const float *const means = static_cast<const float *>(operands[2]), *const rstds =
                                                                          static_cast<const float *>(
                                                                              operands[3]);
  T *const dx = static_cast<T *>(operands[4]);
  const float *const weight = floats(call, operands, 5);
  runGroups(call, runner, [&](const Group &group) {
    const Vec16 mean = splat(means[group.index]), rstd = splat(rstds[group.index]);
    Double16 totals[2] = {}; // of weight * g and of weight * g * (x - mean)
    group.eachChannel([&](std::int64_t channel, Range elements) {
      const Vec16 scale = splat(weight ? weight[channel] : 1.0f);
      addRange(elements, totals, [&](std::int64_t i, auto lanes, Vec16 *out) {
        out[0] = scale * read(g + i, lanes);
        out[1] = out[0] * (read(x + i, lanes) - mean);
      });
    });
    const Vec16 ofGradient = splatLane(sumLanes(totals[0]) / group.count);
    const Vec16 slope = splatLane(sumLanes(totals[1]) / group.count) * rstd * rstd;
    group.eachChannel([&](std::int64_t channel, Range elements) {
      const Vec16 scale = splat(weight ? weight[channel] : 1.0f);
      eachVector(elements, [&](std::int64_t i, auto lanes) {
        const Vec16 centred = read(x + i, lanes) - mean;
        write(dx + i, fma(-centred, slope, scale * read(g + i, lanes) - ofGradient) * rstd, lanes);
      });
    });
  });
}

template <typename T>
void groupNormWeightGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]), *const x = static_cast<const T *>(operands[1]);
  const float *const means = static_cast<const float *>(operands[2]), *const rstds =
                                                                          static_cast<const float *>(
                                                                              operands[3]);
  float *const acc = static_cast<float *>(operands[4]);
  const std::int64_t samples = call.size(0, 0), channels = call.size(0, 1), positions = call.size(0, 2);
  const std::int64_t groups = call.size(2, 1), tiles = least(channels, elementTiles(call.elements(0)));
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    const Range range = part(channels, tiles, index);
    for (std::int64_t channel = range.begin; channel < range.end; ++channel) {
      const ChannelOfRows rows{samples, channels, positions, channel};
      Vec16 sum = splat(acc[channel]);
      for (std::int64_t sample = 0; sample < samples; ++sample) {
        const std::int64_t group = sample * groups + channel / (channels / groups);
        const Vec16 mean = splat(means[group]);
        sum = fma(rows.sumOfSample(sample,
                                   [&](std::int64_t i, auto lanes, Vec16 *out) {
                                     out[0] = read(g + i, lanes) * (read(x + i, lanes) - mean);
                                   }),
                  splat(rstds[group]), sum);
      }
      acc[channel] = sum[0];
    }
  });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("batch_norm", 1, batchNorm),
                               {"batch_norm_update", 1, batchNormUpdate},
                               STAGEWRIGHT_FOR_ELEMENTS("batch_norm_inference", 1, batchNormInference),
                               STAGEWRIGHT_FOR_ELEMENTS("batch_norm_grad", 1, batchNormGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("batch_norm_weight_grad", 1, batchNormWeightGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("channel_bias_grad", 1, channelBiasGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("channel_moments", 1, channelMoments),
                               STAGEWRIGHT_FOR_ELEMENTS("sync_batch_norm", 1, syncBatchNorm),
                               STAGEWRIGHT_FOR_ELEMENTS("channel_gradient_means", 1, channelGradientMeans),
                               STAGEWRIGHT_FOR_ELEMENTS("sync_batch_norm_grad", 1, syncBatchNormGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("group_norm", 1, groupNorm),
                               STAGEWRIGHT_FOR_ELEMENTS("group_norm_grad", 1, groupNormGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("group_norm_weight_grad", 1, groupNormWeightGrad)};

} // namespace

extern const Family ChannelNorm = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
