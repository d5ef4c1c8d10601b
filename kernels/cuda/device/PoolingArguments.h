// Arguments of family pooling.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_POOLINGARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_POOLINGARGUMENTS_H

#include <stdint.h>

/// Windows of one dimension of the image and of the result.
struct PoolWindows {
  int64_t kernel, stride, padding, dilation, size, outputs;
};

/// Planes: images of one channel. `from` and `to`: what is read and written; gradients go from result to
/// image.
struct PoolArguments {
  int64_t planes;
  PoolWindows rows, columns;
  const void *from;
  void *to;
  int32_t *index;       ///< of max_pool2d
  int32_t countPadding; ///< of means
  float divisor;        ///< of means; 0: the elements of the window
  int32_t byWarp;       ///< adaptive means: a warp for each, else a thread
};

/// A block has bandRows rows of one plane. Its dynamic shared memory holds, for the rows and for groups of
/// 2^columnShift columns, which outputs may have their maximum there.
struct MaxPoolGradArguments {
  int64_t planes, height, width, rows, columns; ///< of the image, of the result
  int64_t bandRows;
  int32_t columnShift, columnGroups;
  const void *g;
  const int32_t *index;
  void *dx;
};

#endif
