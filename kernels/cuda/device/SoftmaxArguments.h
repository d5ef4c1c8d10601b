// Arguments of family softmax.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_SOFTMAXARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_SOFTMAXARGUMENTS_H

#include "kernels/cuda/device/RowLayout.h"

/// softmax: x, y. softmax_grad: x is g, and `to` is dx. The result may overwrite x.
struct SoftmaxArguments {
  RowLayout layout;
  const void *x, *y;
  void *to;
};

#endif
