// Family optimizer. The formulas are those of kernels/host/Optimizer.cpp. What a step's scalars give is
// computed once in a block; elements are visited four at a time. A launch of an update rule that works
// element by element is of many tensors: blocks [firstBlock[t], firstBlock[t + 1]) have tensor t.
#include "kernels/cuda/device/OptimizerArguments.h"
#include "kernels/cuda/device/Packs.cuh"

namespace {

/// A block's tensor, and the block's number among those that the tensor has.
struct TensorShare {
  int tensor;
  int64_t block, blocks;
};

__device__ inline TensorShare shareOf(const TensorTable &table) {
  const int block = int(blockIdx.x);
  int low = 0, high = table.count; // tensor `low` begins at this block or before it, `high` behind it
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.firstBlock[middle] <= block)
      low = middle;
    else
      high = middle;
  }
  const int first = table.firstBlock[low];
  return {low, block - first, table.firstBlock[low + 1] - first};
}

template <typename V>
__device__ V *memoryOf(const TensorTable &table, const TensorShare &share, int number) {
  return static_cast<V *>(table.memory[number][share.tensor]);
}

/// Calls body(i, Width) for the elements of a granule; all threads of the block share the work.
template <typename Body>
__device__ void eachPieceOfGranule(int64_t elements, int64_t granule, Body body) {
  const int64_t begin = granule * kNormGranule;
  const int64_t end = begin + kNormGranule < elements ? begin + kNormGranule : elements;
  int64_t i = begin + threadIdx.x * 4;
  for (; i + 4 <= end; i += blockDim.x * 4)
    body(i, Width<4>());
  for (; i < end; ++i) // of one thread: the last elements
    body(i, Width<1>());
}

__device__ inline double square(float x) {
  return double(x) * double(x); // exact
}

/// A block for each granule. Thread t adds elements 4 t to 4 t + 3, then those of the next round; then the
/// tree.
__device__ void gradient_norm_partials(const Tensors<NoRule> &a) {
  const TensorShare share = shareOf(a.table);
  const float *const grad = memoryOf<const float>(a.table, share, 0);
  double sum = 0;
  eachPieceOfGranule(a.table.elements[share.tensor], share.block, [&](int64_t i, auto width) {
    float g[decltype(width)::kSize];
    readPiece(grad + i, g);
#pragma unroll
    for (const float value : g)
      sum += square(value);
  });
  sum = blockSum(sum);
  if (threadIdx.x == 0)
    memoryOf<double>(a.table, share, 1)[share.block] = sum;
}

/// By one block: thread t adds values t, t + blockDim, ...; then the tree.
__device__ double sumOf(const double *values, int64_t count) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x)
    sum += values[i];
  return blockSum(sum);
}

/// One block. As torch.nn.utils.clip_grad_norm_; of a norm that is not finite see the host's.
__device__ void clip_coefficient(const ClipArguments &a) {
  const double sum = sumOf(a.partials, a.count);
  if (threadIdx.x != 0)
    return;
  const double lossScale = a.lossScale ? double(*a.lossScale) : 1.0;
  const double norm = sqrt(sum) / lossScale;
  const double clipped = a.maxNorm == 0.0 ? 1.0 : a.maxNorm / (norm + 1e-6);
  const bool skip = a.skips && !(norm <= 1.7976931348623157e308);
  *a.coefficient = skip ? nanf("") : float((clipped <= 1.0 ? clipped : 1.0) / lossScale); // 1 also of a NaN
  *a.norm = norm;
}

/// A coefficient that is not a number skips the step: only the gradient becomes zero.
__device__ inline bool skipsStep(const UpdateArguments &a) {
  const float coefficient = *a.coefficient;
  return coefficient != coefficient;
}

template <int N>
__device__ void clearGrad(const UpdateArguments &a, int64_t i) {
  const float zeros[N] = {};
  writePiece(a.grad + i, zeros);
}

/// The gradient of elements i to i + N - 1, times the coefficient.
template <int N>
__device__ void readGrad(const UpdateArguments &a, int64_t i, float coefficient, float (&g)[N]) {
  readPiece(a.grad + i, g);
#pragma unroll
  for (int k = 0; k < N; ++k)
    g[k] = g[k] * coefficient;
}

/// What the block's tensor is updated with, but for its states.
template <typename Rule>
__device__ Rule ruleOf(const Tensors<Rule> &many, const TensorShare &share) {
  Rule rule = many.rule;
  rule.update.param = memoryOf<float>(many.table, share, 0);
  rule.update.grad = memoryOf<float>(many.table, share, 1);
  rule.update.elements = many.table.elements[share.tensor];
  return rule;
}

/// Calls body(i, Width) for the elements of the tensor, which its blocks share.
template <typename Body>
__device__ void eachPieceOfTensor(const TensorShare &share, int64_t elements, Body body) {
  const int64_t thread = share.block * blockDim.x + threadIdx.x, threads = share.blocks * blockDim.x;
  for (int64_t i = thread * 4; i + 4 <= elements; i += threads * 4)
    body(i, Width<4>());
  for (int64_t i = elements / 4 * 4 + thread; i < elements; i += threads)
    body(i, Width<1>());
}

/// The same, or makes the gradient zero where the step is skipped.
template <typename Body>
__device__ void updateElements(const TensorShare &share, const UpdateArguments &a, Body body) {
  if (skipsStep(a))
    eachPieceOfTensor(share, a.elements,
                      [&](int64_t i, auto width) { clearGrad<decltype(width)::kSize>(a, i); });
  else
    eachPieceOfTensor(share, a.elements, body);
}

/// torch.optim.SGD: in its first step the momentum buffer is the gradient.
__device__ void sgd(const Tensors<SgdArguments> &many) {
  const TensorShare share = shareOf(many.table);
  SgdArguments a = ruleOf(many, share);
  a.buffer = memoryOf<float>(many.table, share, 2);
  const float rate = float(*a.update.rate), coefficient = *a.update.coefficient;
  const bool isFirst = *a.step <= 1;
  updateElements(share, a.update, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float p[kSize], g[kSize], velocity[kSize];
    readPiece(a.update.param + i, p);
    readGrad(a.update, i, coefficient, g);
    if (a.buffer && !isFirst)
      readPiece(a.buffer + i, velocity);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      if (a.weightDecay != 0.0f)
        g[k] = fmaf(p[k], a.weightDecay, g[k]);
      if (a.buffer) {
        velocity[k] = isFirst ? g[k] : fmaf(g[k], a.undamped, velocity[k] * a.momentum);
        g[k] = a.nesterov ? fmaf(velocity[k], a.momentum, g[k]) : velocity[k];
      }
      p[k] = fmaf(-rate, g[k], p[k]);
    }
    if (a.buffer)
      writePiece(a.buffer + i, velocity);
    writePiece(a.update.param + i, p);
    clearGrad<kSize>(a.update, i);
  });
}

/// What Adam's averages are updated with.
struct AdamStep {
  float coefficient, newAverage, stepSize, squareCorrection, keep;
};

__device__ inline AdamStep adamStep(const AdamArguments &a) {
  const double rate = *a.update.rate, beta1 = a.firstBeta ? *a.firstBeta : a.beta1;
  return {*a.update.coefficient, float(1.0 - beta1), float(rate / a.corrections[0]),
          float(sqrt(a.corrections[1])), float(1.0 - rate * a.decay)};
}

/// The averages m and v follow the gradient g.
__device__ inline void follow(const AdamArguments &a, float newAverage, float g, float &m, float &v) {
  m = fmaf(g - m, newAverage, m);
  v = fmaf(a.newSquare * g, g, v * a.beta2);
}

/// torch.optim.Adam, and AdamW where the decay is decoupled.
__device__ void adam(const Tensors<AdamArguments> &many) {
  const TensorShare share = shareOf(many.table);
  AdamArguments a = ruleOf(many, share);
  a.average = memoryOf<float>(many.table, share, 2);
  a.square = memoryOf<float>(many.table, share, 3);
  __shared__ AdamStep step;
  if (threadIdx.x == 0)
    step = adamStep(a);
  barrier();
  updateElements(share, a.update, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float p[kSize], g[kSize], m[kSize], v[kSize];
    readPiece(a.update.param + i, p);
    readGrad(a.update, i, step.coefficient, g);
    readPiece(a.average + i, m);
    readPiece(a.square + i, v);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      if (a.weightDecay != 0.0f)
        g[k] = fmaf(p[k], a.weightDecay, g[k]);
      else
        p[k] = p[k] * step.keep;
      follow(a, step.newAverage, g[k], m[k], v[k]);
      p[k] = fmaf(-step.stepSize, m[k] / (sqrtf(v[k]) / step.squareCorrection + a.epsilon), p[k]);
    }
    writePiece(a.update.param + i, p);
    writePiece(a.average + i, m);
    writePiece(a.square + i, v);
    clearGrad<kSize>(a.update, i);
  });
}

/// Lion (Chen et al. 2023): the sign of a mixture of the average and the gradient; then the average follows.
__device__ void lion(const Tensors<LionArguments> &many) {
  const TensorShare share = shareOf(many.table);
  LionArguments a = ruleOf(many, share);
  a.average = memoryOf<float>(many.table, share, 2);
  const double wideRate = *a.update.rate, beta1 = a.firstBeta ? *a.firstBeta : a.beta1;
  const float rate = float(wideRate), coefficient = *a.update.coefficient;
  const float newMixture = float(1.0 - beta1), keep = float(1.0 - wideRate * a.weightDecay);
  updateElements(share, a.update, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float p[kSize], g[kSize], m[kSize];
    readPiece(a.update.param + i, p);
    readGrad(a.update, i, coefficient, g);
    readPiece(a.average + i, m);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      const float direction = fmaf(g[k] - m[k], newMixture, m[k]);
      // As torch.sign: a zero stays zero, a NaN stays one.
      const float sign = fabsf(direction) > 0.0f ? copysignf(1.0f, direction) : direction;
      p[k] = fmaf(-rate, sign, p[k] * keep);
      m[k] = fmaf(g[k] - m[k], a.newAverage, m[k]);
    }
    writePiece(a.update.param + i, p);
    writePiece(a.average + i, m);
    clearGrad<kSize>(a.update, i);
  });
}

/// torch.optim.Adagrad.
__device__ void adagrad(const Tensors<AdagradArguments> &many) {
  const TensorShare share = shareOf(many.table);
  AdagradArguments a = ruleOf(many, share);
  a.sum = memoryOf<float>(many.table, share, 2);
  __shared__ float rate;
  if (threadIdx.x == 0)
    rate = float(*a.update.rate / (1.0 + (double(*a.step) - 1.0) * a.rateDecay));
  barrier();
  const float coefficient = *a.update.coefficient;
  updateElements(share, a.update, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float p[kSize], g[kSize], sum[kSize];
    readPiece(a.update.param + i, p);
    readGrad(a.update, i, coefficient, g);
    readPiece(a.sum + i, sum);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      if (a.weightDecay != 0.0f)
        g[k] = fmaf(p[k], a.weightDecay, g[k]);
      sum[k] = fmaf(g[k], g[k], sum[k]);
      p[k] = fmaf(-rate, g[k] / (sqrtf(sum[k]) + a.epsilon), p[k]);
    }
    writePiece(a.update.param + i, p);
    writePiece(a.sum + i, sum);
    clearGrad<kSize>(a.update, i);
  });
}

// LAMB as DeepSpeed's FusedLamb: Adam's direction without bias corrections, which are in the step's size,
// scaled by the ratio of the norms of the parameter and of the direction, within limits. Three launches:
// averages and norms of granules, the ratio, the step.

__device__ inline float directionOf(const AdamArguments &a, float p, float m, float v) {
  return fmaf(p, a.weightDecay, m / (sqrtf(v) + a.epsilon));
}

__device__ void lamb_averages(const LambArguments &a) {
  const AdamArguments &adam = a.adam;
  const float coefficient = *adam.update.coefficient;
  const float newAverage = float(1.0 - (adam.firstBeta ? *adam.firstBeta : adam.beta1));
  double ofParam = 0, ofDirection = 0;
  const bool skips = skipsStep(adam.update);
  eachPieceOfGranule(adam.update.elements, blockIdx.x, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    if (!skips) {
      float p[kSize], g[kSize], m[kSize], v[kSize];
      readPiece(adam.update.param + i, p);
      readGrad(adam.update, i, coefficient, g);
      readPiece(adam.average + i, m);
      readPiece(adam.square + i, v);
#pragma unroll
      for (int k = 0; k < kSize; ++k) {
        follow(adam, newAverage, g[k], m[k], v[k]);
        ofParam += square(p[k]);
        ofDirection += square(directionOf(adam, p[k], m[k], v[k]));
      }
      writePiece(adam.average + i, m);
      writePiece(adam.square + i, v);
    }
    clearGrad<kSize>(adam.update, i);
  });
  ofParam = blockSum(ofParam);
  ofDirection = blockSum(ofDirection);
  if (threadIdx.x == 0) {
    a.norms[blockIdx.x] = ofParam;
    a.norms[gridDim.x + blockIdx.x] = ofDirection;
  }
}

/// One block.
__device__ void lamb_ratio(const LambArguments &a) {
  const int64_t granules = (a.adam.update.elements + kNormGranule - 1) / kNormGranule;
  const double ofParam = sqrt(sumOf(a.norms, granules)),
               ofDirection = sqrt(sumOf(a.norms + granules, granules));
  if (threadIdx.x != 0)
    return;
  double ratio = 1.0;
  if (ofParam != 0.0 && ofDirection != 0.0) {
    ratio = ofParam / ofDirection;
    ratio = ratio > a.most ? a.most : ratio < a.fewest ? a.fewest : ratio;
  }
  a.norms[2 * granules] = ratio;
}

__device__ void lamb_step(const LambArguments &a) {
  const AdamArguments &adam = a.adam;
  __shared__ float stepSize;
  if (threadIdx.x == 0) {
    const int64_t granules = (adam.update.elements + kNormGranule - 1) / kNormGranule;
    stepSize =
        float(*adam.update.rate * sqrt(adam.corrections[1]) / adam.corrections[0] * a.norms[2 * granules]);
  }
  barrier();
  if (skipsStep(adam.update))
    return;
  eachPiece<4>(adam.update.elements, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float p[kSize], m[kSize], v[kSize];
    readPiece(adam.update.param + i, p);
    readPiece(adam.average + i, m);
    readPiece(adam.square + i, v);
#pragma unroll
    for (int k = 0; k < kSize; ++k)
      p[k] = fmaf(-stepSize, directionOf(adam, p[k], m[k], v[k]), p[k]);
    writePiece(adam.update.param + i, p);
  });
}

} // namespace

STAGEWRIGHT_KERNEL(gradient_norm_partials, Tensors<NoRule>)
STAGEWRIGHT_KERNEL(clip_coefficient, ClipArguments)
STAGEWRIGHT_KERNEL(sgd, Tensors<SgdArguments>)
STAGEWRIGHT_KERNEL(adam, Tensors<AdamArguments>)
STAGEWRIGHT_KERNEL(lion, Tensors<LionArguments>)
STAGEWRIGHT_KERNEL(adagrad, Tensors<AdagradArguments>)
STAGEWRIGHT_KERNEL(lamb_averages, LambArguments)
STAGEWRIGHT_KERNEL(lamb_ratio, LambArguments)
STAGEWRIGHT_KERNEL(lamb_step, LambArguments)
