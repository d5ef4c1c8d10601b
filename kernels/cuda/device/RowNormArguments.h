// Arguments of family row norm.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_ROWNORMARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_ROWNORMARGUMENTS_H

#include "kernels/cuda/device/RowLayout.h"

/// Of results and gradients of rows. Absent vectors are null.
struct RowNormArguments {
  RowLayout layout;
  const void *g, *x;
  void *y; ///< or dx
  float *mean, *rstd;
  const float *weight, *bias;
  float epsilon;
};

/// acc[column] += sum over the rows of g * normalized x, or of g where x is null.
struct ColumnSumArguments {
  int64_t rows, columns, rowsOfChunk;
  const void *g, *x;
  const float *mean, *rstd; ///< mean: null for rms_norm
  float *acc;
  float *partials; ///< [chunks,columns]; unused when there is one chunk
  int32_t isAligned;
};

/// acc[column] += partials[0][column] + partials[1][column] + ...
struct AddPartialsArguments {
  int64_t chunks, columns;
  const float *partials;
  float *acc;
};

#endif
