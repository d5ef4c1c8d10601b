// Family channel norm. The formulas are those of kernels/host/ChannelNorm.cpp. The elements of a piece are
// added in floats; pieces, threads and chunks in fp64, in an order that the shape gives.
#include "kernels/cuda/device/ChannelNorm.cuh"
#include "kernels/cuda/device/Rows.cuh"

namespace {

__device__ float reciprocalRoot(float variance, float epsilon) {
  return 1.0f / sqrtf(variance + epsilon);
}
__device__ float valueOr(const float *vector, int64_t i, float otherwise) {
  return vector ? vector[i] : otherwise;
}

struct Moments {
  float mean, variance;
};

/// `f(element)`: the sum of a piece.
template <int N, typename F>
__device__ double sumOfElements(const ChannelChunk &chunk, F f) {
  double sum = 0;
  chunk.each<N>([&](int64_t, int64_t i) { sum += double(f(i)); });
  return channelSum(chunk.layout, sum);
}

/// Mean of a chunk, and the sum of squares of differences to it.
template <typename T, int N>
__device__ void momentsOfElements(const ChannelChunk &chunk, const T *x, double &mean, double &squares) {
  const double count = double(chunk.count());
  mean = sumOfElements<N>(chunk,
                          [&](int64_t i) {
                            float v[N], sum = 0;
                            readPiece(x + i, v);
                            for (int k = 0; k < N; ++k)
                              sum += v[k];
                            return sum;
                          }) /
         count;
  const float centre = float(mean);
  squares = sumOfElements<N>(chunk, [&](int64_t i) {
    float v[N], sum = 0;
    readPiece(x + i, v);
    for (int k = 0; k < N; ++k)
      sum = fmaf(v[k] - centre, v[k] - centre, sum);
    return sum;
  });
  squares -= count * ((mean - double(centre)) * (mean - double(centre)));
}

/// All chunks of a channel together: the variance of all is the mean of that of the chunks and of the squares
/// of the differences of their means.
__device__ Moments momentsOfPartials(const ChannelChunk &chunk, const double *partials) {
  const ChannelLayout &layout = chunk.layout;
  const double count = double(layout.samples) * double(layout.positions);
  const auto partial = [&](int64_t i, int row) {
    return partials[(2 * i + row) * layout.channels + chunk.channel];
  };
  const double mean =
      sumOfChunks(chunk, [&](int64_t i) { return double(chunk.countOf(i)) * partial(i, 0); }) / count;
  const double squares = sumOfChunks(chunk, [&](int64_t i) {
    const double difference = partial(i, 0) - mean;
    return partial(i, 1) + double(chunk.countOf(i)) * (difference * difference);
  });
  return {float(mean), float(squares / count)};
}

__device__ Moments momentsOfReplicas(const ChannelNormArguments &a, int64_t channel) {
  const int64_t channels = a.layout.channels;
  const float mean = float(meanOfReplicas(a.ofReplicas, a.replicas, 0, channels, channel));
  double between = 0;
  for (int replica = 0; replica < a.replicas; ++replica) {
    const double difference = double(a.ofReplicas[2 * replica * channels + channel]) - double(mean);
    between += difference * difference;
  }
  return {mean, float(meanOfReplicas(a.ofReplicas, a.replicas, 1, channels, channel) +
                      between / double(a.replicas))};
}

template <typename T, int N>
__device__ void normaliseChunk(const ChannelNormArguments &a, const ChannelChunk &chunk, Moments of) {
  const float rstd = reciprocalRoot(of.variance, a.epsilon);
  const float factor = chunk.hasChannel() ? rstd * valueOr(a.weight, chunk.channel, 1.0f) : 0.0f;
  const float shift = chunk.hasChannel() ? valueOr(a.bias, chunk.channel, 0.0f) : 0.0f;
  chunk.each<N>([&](int64_t, int64_t i) {
    float v[N];
    readPiece(static_cast<const T *>(a.x) + i, v);
    for (int k = 0; k < N; ++k)
      v[k] = fmaf(v[k] - of.mean, factor, shift);
    writePiece(static_cast<T *>(a.y) + i, v);
  });
}

template <typename T, int N>
__device__ void normOfChunk(const ChannelNormArguments &a, const ChannelChunk &chunk) {
  Moments of = {};
  if (a.source == ChannelSource::Elements) {
    double mean, squares;
    momentsOfElements<T, N>(chunk, static_cast<const T *>(a.x), mean, squares);
    if (a.layout.chunks > 1) {
      if (chunk.isFirst()) {
        a.partials[2 * chunk.index * a.layout.channels + chunk.channel] = mean;
        a.partials[(2 * chunk.index + 1) * a.layout.channels + chunk.channel] = squares;
      }
      return;
    }
    of = {float(mean), float(squares / double(chunk.count()))};
  } else if (a.source == ChannelSource::Partials) {
    of = momentsOfPartials(chunk, a.partials);
  } else if (chunk.hasChannel()) {
    of = a.source == ChannelSource::Replicas ? momentsOfReplicas(a, chunk.channel)
                                             : Moments{a.mean[chunk.channel], a.variance[chunk.channel]};
  }
  if (a.meanOut && chunk.index == 0 && chunk.isFirst()) {
    a.meanOut[chunk.channel] = of.mean;
    a.varianceOut[chunk.channel] = of.variance;
  }
  if (a.y)
    normaliseChunk<T, N>(a, chunk, of);
}

template <typename T>
__device__ void channel_norm(const ChannelNormArguments &a) {
  // Statistics of partials or replicas alone are those of a channel: its first chunk has them.
  eachChunk(a.layout, a.y || a.source == ChannelSource::Elements ? a.layout.chunks : 1,
            [&](const ChannelChunk &chunk) {
              if (a.layout.isAligned)
                normOfChunk<T, Pack<T>::kSize>(a, chunk);
              else
                normOfChunk<T, 1>(a, chunk);
            });
}

// ---- Gradients ----

/// Sums of a chunk: sums[0] of g, sums[1] of g (x - mean), for group norm times rstd.
template <typename T, int N>
__device__ void gradientSumsOfElements(const ChannelGradArguments &a, const ChannelChunk &chunk,
                                       double (&sums)[2]) {
  const T *const g = static_cast<const T *>(a.g), *const x = static_cast<const T *>(a.x);
  double plain = 0, projected = 0;
  const int64_t group = a.groups ? chunk.channel / (a.layout.channels / a.groups) : 0;
  chunk.each<N>([&](int64_t sample, int64_t i) {
    float gradient[N], v[N], sum = 0, products = 0;
    readPiece(g + i, gradient);
    for (int k = 0; k < N; ++k)
      sum += gradient[k];
    plain += double(sum);
    if (!x)
      return;
    readPiece(x + i, v);
    const int64_t at = a.groups ? sample * a.groups + group : chunk.channel;
    const float mean = a.mean[at], factor = a.groups ? a.rstd[at] : 1.0f;
    for (int k = 0; k < N; ++k)
      products = fmaf(gradient[k], v[k] - mean, products);
    projected += double(products * factor);
  });
  sums[0] = channelSum(a.layout, plain);
  sums[1] = x ? channelSum(a.layout, projected) : 0.0;
}

/// dx of a chunk by the means of g and g (x - mean) over all elements that share statistics.
template <typename T, int N>
__device__ void inputGradOfChunk(const ChannelGradArguments &a, const ChannelChunk &chunk,
                                 const double (&means)[2]) {
  if (!chunk.hasChannel())
    return;
  const float mean = a.mean[chunk.channel], rstd = reciprocalRoot(a.variance[chunk.channel], a.epsilon);
  const float plain = float(means[0]), slope = float(means[1]) * rstd * rstd;
  const float factor = rstd * valueOr(a.weight, chunk.channel, 1.0f);
  chunk.each<N>([&](int64_t, int64_t i) {
    float gradient[N], v[N];
    readPiece(static_cast<const T *>(a.g) + i, gradient);
    readPiece(static_cast<const T *>(a.x) + i, v);
    for (int k = 0; k < N; ++k)
      v[k] = fmaf(-(v[k] - mean), slope, gradient[k] - plain) * factor;
    writePiece(static_cast<T *>(a.dx) + i, v);
  });
}

/// `sums`: of a channel.
template <typename T, int N>
__device__ void gradientOfChunk(const ChannelGradArguments &a, const ChannelChunk &chunk, double (&sums)[2]) {
  const int64_t channel = chunk.channel, channels = a.layout.channels;
  const bool writes = chunk.index == 0 && chunk.isFirst();
  if (a.result == ChannelResult::BiasGrad || a.result == ChannelResult::WeightGrad) {
    if (writes)
      a.acc[channel] += a.result == ChannelResult::BiasGrad ? float(sums[0])
                        : a.groups                          ? float(sums[1])
                                   : float(sums[1]) * reciprocalRoot(a.variance[channel], a.epsilon);
    return;
  }
  if (a.source != ChannelSource::Replicas)
    for (double &sum : sums)
      sum /= double(a.layout.samples) * double(a.layout.positions);
  if (a.result == ChannelResult::InputGrad) {
    inputGradOfChunk<T, N>(a, chunk, sums);
  } else if (writes) {
    a.means[channel] = float(sums[0]);
    a.means[channels + channel] = float(sums[1]);
  }
}

template <typename T, int N>
__device__ void gradOfChunk(const ChannelGradArguments &a, const ChannelChunk &chunk) {
  const int64_t channels = a.layout.channels;
  double sums[2] = {};
  if (a.source == ChannelSource::Elements) {
    gradientSumsOfElements<T, N>(a, chunk, sums);
    if (a.layout.chunks > 1) {
      if (chunk.isFirst())
        for (int row = 0; row < 2; ++row)
          a.partials[(2 * chunk.index + row) * channels + chunk.channel] = sums[row];
      return;
    }
  } else if (a.source == ChannelSource::Partials) {
    for (int row = 0; row < 2; ++row)
      sums[row] =
          sumOfChunks(chunk, [&](int64_t i) { return a.partials[(2 * i + row) * channels + chunk.channel]; });
  } else if (chunk.hasChannel()) {
    for (int row = 0; row < 2; ++row)
      sums[row] = meanOfReplicas(a.ofReplicas, a.replicas, row, channels, chunk.channel);
  }
  gradientOfChunk<T, N>(a, chunk, sums);
}

template <typename T>
__device__ void channel_grad(const ChannelGradArguments &a) {
  eachChunk(a.layout, a.dx || a.source == ChannelSource::Elements ? a.layout.chunks : 1,
            [&](const ChannelChunk &chunk) {
              if (a.layout.isAligned)
                gradOfChunk<T, Pack<T>::kSize>(a, chunk);
              else
                gradOfChunk<T, 1>(a, chunk);
            });
}

// ---- Groups of channels of one sample: their elements lie side by side ----

/// Calls body(element, channel) for the pieces of a group, which the threads of a team share.
template <int N, typename Team, typename Body>
__device__ void eachOfGroup(Team team, const GroupNormArguments &a, int64_t unit, Body body) {
  const int64_t begin = unit * a.channels * a.positions, first = unit % a.groups * a.channels;
  const int64_t elements = a.channels * a.positions;
  for (int64_t i = int64_t(team.thread()) * N; i < elements; i += int64_t(team.threads()) * N)
    body(begin + i, first + quotient(i, a.positions));
}

template <typename T, int N, typename Team>
__device__ void normOfGroup(Team team, const GroupNormArguments &a, int64_t unit) {
  const T *const x = static_cast<const T *>(a.x);
  const double count = double(a.channels * a.positions);
  double total = 0, squares = 0;
  eachOfGroup<N>(team, a, unit, [&](int64_t i, int64_t) {
    float v[N], sum = 0;
    readPiece(x + i, v);
    for (int k = 0; k < N; ++k)
      sum += v[k];
    total += double(sum);
  });
  const float mean = float(teamSum(total, team) / count);
  eachOfGroup<N>(team, a, unit, [&](int64_t i, int64_t) {
    float v[N], sum = 0;
    readPiece(x + i, v);
    for (int k = 0; k < N; ++k)
      sum = fmaf(v[k] - mean, v[k] - mean, sum);
    squares += double(sum);
  });
  const float rstd = reciprocalRoot(float(teamSum(squares, team) / count), a.epsilon);
  if (team.thread() == 0) {
    a.mean[unit] = mean;
    a.rstd[unit] = rstd;
  }
  eachOfGroup<N>(team, a, unit, [&](int64_t i, int64_t channel) {
    const float factor = rstd * valueOr(a.weight, channel, 1.0f), shift = valueOr(a.bias, channel, 0.0f);
    float v[N];
    readPiece(x + i, v);
    for (int k = 0; k < N; ++k)
      v[k] = fmaf(v[k] - mean, factor, shift);
    writePiece(static_cast<T *>(a.y) + i, v);
  });
}

template <typename T, int N, typename Team>
__device__ void gradOfGroup(Team team, const GroupNormArguments &a, int64_t unit) {
  const T *const x = static_cast<const T *>(a.x), *const g = static_cast<const T *>(a.g);
  const double count = double(a.channels * a.positions);
  const float mean = a.mean[unit], rstd = a.rstd[unit];
  double plain = 0, projected = 0;
  eachOfGroup<N>(team, a, unit, [&](int64_t i, int64_t channel) {
    const float scale = valueOr(a.weight, channel, 1.0f);
    float v[N], gradient[N], sum = 0, products = 0;
    readPiece(x + i, v);
    readPiece(g + i, gradient);
    for (int k = 0; k < N; ++k) {
      sum += scale * gradient[k];
      products = fmaf(scale * gradient[k], v[k] - mean, products);
    }
    plain += double(sum);
    projected += double(products);
  });
  const float ofGradient = float(teamSum(plain, team) / count);
  const float slope = float(teamSum(projected, team) / count) * rstd * rstd;
  eachOfGroup<N>(team, a, unit, [&](int64_t i, int64_t channel) {
    const float scale = valueOr(a.weight, channel, 1.0f);
    float v[N], gradient[N];
    readPiece(x + i, v);
    readPiece(g + i, gradient);
    for (int k = 0; k < N; ++k)
      v[k] = fmaf(-(v[k] - mean), slope, scale * gradient[k] - ofGradient) * rstd;
    writePiece(static_cast<T *>(a.y) + i, v);
  });
}

/// Groups are rows of their elements.
template <typename T>
__device__ void group_norm(const GroupNormArguments &a) {
  eachRow<T>(a.layout, [&](int64_t unit, auto team, auto width) {
    normOfGroup<T, decltype(width)::kSize>(team, a, unit);
  });
}

template <typename T>
__device__ void group_norm_grad(const GroupNormArguments &a) {
  eachRow<T>(a.layout, [&](int64_t unit, auto team, auto width) {
    gradOfGroup<T, decltype(width)::kSize>(team, a, unit);
  });
}

/// running = momentum * of the batch + (1 - momentum) * running, in fp64. One block, as all channels need the
/// number of batches that one of its threads then counts up.
__device__ void batch_norm_update(const BatchNormUpdateArguments &a) {
  const int64_t batches = *a.batches + 1;
  const double momentum = a.momentum < 0 ? 1.0 / double(batches) : a.momentum;
  const auto blend = [&](float *running, float batch, double factor) {
    *running = float(double(batch) * factor * momentum + double(*running) * (1.0 - momentum));
  };
  for (int64_t i = threadIdx.x; i < a.channels; i += blockDim.x) {
    blend(a.runningMean + i, a.mean[i], 1.0);
    blend(a.runningVariance + i, a.variance[i], a.unbiased);
  }
  barrier();
  if (threadIdx.x == 0)
    *a.batches = batches;
}

} // namespace

STAGEWRIGHT_KERNELS(channel_norm, ChannelNormArguments)
STAGEWRIGHT_KERNELS(channel_grad, ChannelGradArguments)
STAGEWRIGHT_ROW_KERNELS(group_norm, GroupNormArguments)
STAGEWRIGHT_ROW_KERNELS(group_norm_grad, GroupNormArguments)
STAGEWRIGHT_KERNEL(batch_norm_update, BatchNormUpdateArguments)
