// Arguments of convolutions. Images are [samples, groups, channels, rows, columns], dense; planes have less
// than 2^30 elements, and filters (the elements of a weight for one output) less than 2^31.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_CONVOLUTIONARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_CONVOLUTIONARGUMENTS_H

#include <stdint.h>

/// One dimension of a convolution and of the gradient of its input: position p of the result meets tap t at
/// (p * scale + offset + t * step) / divisor of the image, where that is whole and inside.
///
///                      scale    offset     step        divisor
///   y of x             stride   -padding   dilation    1
///   dx of g            1        padding    -dilation   stride
struct ConvolutionAxis {
  int32_t image, result, taps, scale, offset, step, divisor;
};

/// result[row, position] = sum over channels and taps of weight[row, channel, tap] image[channel, ...], for
/// each group. Weight element: group * rows * channels * taps + row * weightRow + channel * weightChannel +
/// tap.
struct ConvolutionArguments {
  const void *image, *weight, *bias; ///< bias [groups * rows] or null
  void *result;
  int64_t samples, groups, rows; ///< rows: channels of the result in a group
  int64_t weightRow, weightChannel;
  uint32_t channels; ///< of the image, in a group
  ConvolutionAxis down, across;
};

/// acc[group, row, channel, tap] += sum over samples and positions of g[row, position] x[channel, ...].
struct ConvolutionWeightArguments {
  const void *g, *x;
  float *acc;
  float *partials; ///< [chunk][element of acc]; null: there is one chunk, and it is added to acc
  int64_t samples, groups, rows;
  int64_t chunks, chunkPositions; ///< of all samples together; the last chunk may have fewer
  uint32_t channels;
  ConvolutionAxis down, across; ///< of y
};

/// acc[i] += values[0][i] + ... + values[count - 1][i], in this order, values of fp32 or of the call's type.
struct ConvolutionSumArguments {
  const void *values;
  float *acc;
  int64_t elements, count;
};

/// y[sample, channel, position] += bias[channel], rounded once more.
struct ConvolutionBiasArguments {
  void *y;
  const void *bias;
  int64_t elements, channels, plane;
};

#endif
