// Arguments of family channel norm. Inputs are [N,C,S]; absent vectors are null.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_CHANNELNORMARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_CHANNELNORMARGUMENTS_H

#include "kernels/cuda/device/RowLayout.h"

/// How [N,C,S] falls to the blocks of a launch. With S = 1 a block has 32 channels side by side, else one:
///
///     threads of a block          S = 1: channel fastest        else: position fastest
///     chunk of a channel          samplesOfChunk samples, or positionsOfChunk positions of one
struct ChannelLayout {
  int64_t samples, channels, positions;
  int64_t samplesOfChunk, positionsOfChunk, parts, chunks;
  int32_t isAligned;       ///< every channel of a sample starts at a multiple of 16 bytes
  int32_t channelLanes;    ///< 32 or 1
  int32_t positionThreads; ///< that have a sample together; a power of two
};

/// Where statistics come from, or sums of gradients.
enum class ChannelSource : int32_t {
  Elements, ///< added up; with several chunks they go to the partials and nothing else is done
  Partials, ///< of all chunks
  Replicas, ///< rows [replicas,2,C]
  Given     ///< statistics: mean and variance
};

/// What becomes of the sums of gradients.
enum class ChannelResult : int32_t { InputGrad, Means, WeightGrad, BiasGrad };

/// y = (x - mean) * (rstd * weight) + bias, without y only statistics.
struct ChannelNormArguments {
  ChannelLayout layout;
  ChannelSource source;
  int32_t replicas;
  const void *x;
  void *y;
  const float *mean, *variance, *ofReplicas;
  float *meanOut, *varianceOut;
  const float *weight, *bias;
  double *partials; ///< [chunks,2,C]: mean, and sum of squares of differences to it
  float epsilon;
};

/// With sums of g and of g (x - mean). Group norm: mean and rstd are [N,groups].
struct ChannelGradArguments {
  ChannelLayout layout;
  ChannelSource source;
  ChannelResult result;
  int32_t replicas;
  int64_t groups; ///< 0: batch norm
  const void *g, *x;
  void *dx;
  const float *mean, *variance, *rstd, *ofReplicas, *weight;
  float *means, *acc;
  double *partials; ///< [chunks,2,C]
  float epsilon;
};

/// A group of one sample is one range of memory.
struct GroupNormArguments {
  RowLayout layout;                    ///< a row for each group of each sample
  int64_t groups, channels, positions; ///< groups of a sample, channels of a group
  const void *g, *x;
  void *y; ///< or dx
  float *mean, *rstd;
  const float *weight, *bias;
  float epsilon;
};

struct BatchNormUpdateArguments {
  int64_t channels;
  const float *mean, *variance;
  float *runningMean, *runningVariance;
  int64_t *batches;
  double momentum, unbiased;
};

#endif
