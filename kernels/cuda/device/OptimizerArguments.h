// Arguments of the gradient norm, of clipping and of the update rules.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_OPTIMIZERARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_OPTIMIZERARGUMENTS_H

#include <stdint.h>

/// Elements whose squares are one partial sum (catalogue::kGranule).
constexpr int64_t kNormGranule = 16384;

/// Tensors of one launch, so many at most that a launch's 4 KiB of arguments hold them.
constexpr int kMostTensors = 84;
struct TensorTable {
  int32_t count;
  int32_t firstBlock[kMostTensors + 1]; ///< of each, then the number of all blocks
  int64_t elements[kMostTensors];
  void *memory[4][kMostTensors]; ///< param, grad, states; of the norm grad, partials
};
/// `rule`: what the tensors have in common; its addresses of tensors are not set.
template <typename Rule>
struct Tensors {
  Rule rule;
  TensorTable table;
};

/// Of the gradient norm.
struct NoRule {};

struct ClipArguments {
  const double *partials;
  float *coefficient;
  double *norm;
  const float *lossScale; ///< or null: 1
  int64_t count;          ///< of partials
  double maxNorm;
  int32_t skips;
};

/// Operands that all rules have. The scalars are those of the step, in device memory.
struct UpdateArguments {
  float *param, *grad;
  const double *rate;
  const float *coefficient;
  int64_t elements;
};

struct SgdArguments {
  UpdateArguments update;
  const int32_t *step;
  float *buffer; ///< null: none
  float momentum, undamped, weightDecay;
  int32_t nesterov;
};

/// Of adam and lamb.
struct AdamArguments {
  UpdateArguments update;
  const double *corrections; ///< of both averages
  float *average, *square;
  const double *firstBeta; ///< of this step, or null: beta1
  double beta1;
  float beta2, newSquare, epsilon, weightDecay;
  double decay; ///< decoupled: of the parameter, times the rate
};

struct LambArguments {
  AdamArguments adam;
  double *norms; ///< per granule: squares of the parameter's norm, then of the direction's; then the ratio
  double most, fewest;
};

struct LionArguments {
  UpdateArguments update;
  float *average;
  const double *firstBeta; ///< of this step, or null: beta1
  double beta1, weightDecay;
  float newAverage;
};

struct AdagradArguments {
  UpdateArguments update;
  const int32_t *step;
  float *sum;
  double rateDecay;
  float epsilon, weightDecay;
};

#endif
