// Arguments of families attention and attention_grad.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_ATTENTIONARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_ATTENTIONARGUMENTS_H

#include "kernels/cuda/device/DropoutArguments.h"

/// q is [batch,queries,heads,width], k and v are [batch,keys,keyHeads,width].
struct AttentionArguments {
  int64_t batch, queries, heads, keys, keyHeads, width;
  float scale;
  int32_t causal, hasDropout;
  int32_t isAligned; ///< every head starts at a multiple of 16 bytes
  const void *g, *q, *k, *v;
  const void *forward; ///< of gradients: y
  void *y, *dq, *dk, *dv;
  float *logSumExp;
  float *products;        ///< of gradients: g y^T of each row of scores
  const int32_t *keyMask; ///< null: all keys are seen
  DropoutNumbers numbers;
};

/// Rows of a block: queries, of dk and dv keys.
constexpr int attentionRows(int64_t width) {
  return width <= 128 ? 64 : width <= 256 ? 32 : 16;
}

#endif
