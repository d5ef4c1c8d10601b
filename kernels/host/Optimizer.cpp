// Family optimizer: the gradient norm, clipping, and the update rules of torch.optim, each in one pass over
// memory.
#include "kernels/host/Tiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

void gradientNormPartials(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const grad = static_cast<const float *>(operands[0]);
  double *const partials = static_cast<double *>(operands[1]);
  runGranules(runner, call.elements(0), [&](std::int64_t granule, Range range) {
    Double16 sum{};
    eachVector(range, [&](std::int64_t i, auto lanes) {
      const Double16 value = widen(read(grad + i, lanes)); // its square is exact
      sum += value * value;
    });
    partials[granule] = sumLanes(sum);
  });
}

/// torch.nn.utils.clip_grad_norm_: min(1, max_norm / (norm + 1e-6)). When the norm is not finite: with `skip`
/// NaN, which skips the step; without it 1 of a NaN and 0 of an infinity, so that the NaNs reach the weights
/// and the run ends with an error.
void clipCoefficient(const Call &call, void *const *operands, void *, TileRunner &) {
  const double *const partials = static_cast<const double *>(operands[0]);
  double sum = 0;
  for (std::int64_t i = 0; i < call.elements(0); ++i)
    sum += partials[i];
  const double scale = call.operands[3].present ? double(*static_cast<const float *>(operands[3])) : 1.0;
  const double norm = __builtin_sqrt(sum) / scale, maxNorm = call.reals[0];
  const double clipped = maxNorm == 0.0 ? 1.0 : maxNorm / (norm + 1e-6);
  const bool skip = call.integers[1] != 0 && !(norm <= __DBL_MAX__);
  *static_cast<float *>(operands[1]) =
      skip ? __builtin_nanf("") : float((clipped <= 1.0 ? clipped : 1.0) / scale); // 1 also of a NaN
  *static_cast<double *>(operands[2]) = norm;
}

float coefficientOf(const void *operand) {
  return *static_cast<const float *>(operand);
}
double rateOf(const void *operand) {
  return *static_cast<const double *>(operand);
}

/// A coefficient that is not a number skips the step: only the gradient becomes zero. Whether that was so.
bool skipStep(const Call &call, void *const *operands, TileRunner &runner) {
  const float coefficient = coefficientOf(operands[3]);
  if (coefficient == coefficient)
    return false;
  float *const grad = static_cast<float *>(operands[1]);
  runElements(runner, call.elements(1), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) { write(grad + i, Vec16{}, lanes); });
  });
  return true;
}

/// torch.optim.SGD: in its first step the momentum buffer is the gradient.
struct Sgd {
  enum Attributes { kMomentum, kDampening, kNesterov, kWeightDecay };

  float *param, *grad, *buffer;
  Vec16 rate, coefficient, momentum, undamped, weightDecay;
  bool useMomentum, useWeightDecay, nesterov, firstStep;

  void update(Range range) const {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      const Vec16 p = read(param + i, lanes);
      Vec16 g = read(grad + i, lanes) * coefficient;
      if (useWeightDecay)
        g = fma(p, weightDecay, g);
      if (useMomentum) {
        const Vec16 velocity = firstStep ? g : fma(g, undamped, read(buffer + i, lanes) * momentum);
        write(buffer + i, velocity, lanes);
        g = nesterov ? fma(velocity, momentum, g) : velocity;
      }
      write(param + i, fma(-rate, g, p), lanes);
      write(grad + i, Vec16{}, lanes);
    });
  }
};

void sgd(const Call &call, void *const *operands, void *, TileRunner &runner) {
  if (skipStep(call, operands, runner))
    return;
  const Sgd rule{.param = static_cast<float *>(operands[0]),
                 .grad = static_cast<float *>(operands[1]),
                 .buffer = call.operands[5].present ? static_cast<float *>(operands[5]) : nullptr,
                 .rate = splat(float(rateOf(operands[2]))),
                 .coefficient = splat(coefficientOf(operands[3])),
                 .momentum = splat(float(call.reals[Sgd::kMomentum])),
                 .undamped = splat(float(1.0 - call.reals[Sgd::kDampening])),
                 .weightDecay = splat(float(call.reals[Sgd::kWeightDecay])),
                 .useMomentum = call.reals[Sgd::kMomentum] != 0.0,
                 .useWeightDecay = call.reals[Sgd::kWeightDecay] != 0.0,
                 .nesterov = call.integers[Sgd::kNesterov] != 0,
                 .firstStep = *static_cast<const std::int32_t *>(operands[4]) <= 1};
  runElements(runner, call.elements(0), [&](Range range) { rule.update(range); });
}

/// That of the step where a schedule cycles it.
double firstBeta(const Call &call, void *const *operands, int operand, int attribute) {
  return call.operands[operand].present ? *static_cast<const double *>(operands[operand])
                                        : call.reals[attribute];
}

/// torch.optim.Adam, and AdamW when `decoupled`.
struct Adam {
  enum Attributes { kBeta1, kBeta2, kEpsilon, kWeightDecay, kDecoupled };

  float *param, *grad, *average, *square;
  Vec16 coefficient, newAverage, beta2, newSquare, stepSize, squareCorrection, epsilon, weightDecay, keep;
  bool decayGradient;

  void update(Range range) const {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      Vec16 p = read(param + i, lanes), g = read(grad + i, lanes) * coefficient;
      if (decayGradient)
        g = fma(p, weightDecay, g);
      else
        p = p * keep;
      Vec16 m = read(average + i, lanes), v = read(square + i, lanes);
      m = fma(g - m, newAverage, m);
      v = fma(newSquare * g, g, v * beta2);
      p = fma(-stepSize, m / (squareRoot(v) / squareCorrection + epsilon), p);
      write(param + i, p, lanes);
      write(average + i, m, lanes);
      write(square + i, v, lanes);
      write(grad + i, Vec16{}, lanes);
    });
  }
};

void adam(const Call &call, void *const *operands, void *, TileRunner &runner) {
  if (skipStep(call, operands, runner))
    return;
  const double rate = rateOf(operands[2]), decay = call.reals[Adam::kWeightDecay];
  const double *const corrections = static_cast<const double *>(operands[4]);
  const bool decoupled = call.integers[Adam::kDecoupled] != 0;
  const Adam rule{.param = static_cast<float *>(operands[0]),
                  .grad = static_cast<float *>(operands[1]),
                  .average = static_cast<float *>(operands[5]),
                  .square = static_cast<float *>(operands[6]),
                  .coefficient = splat(coefficientOf(operands[3])),
                  .newAverage = splat(float(1.0 - firstBeta(call, operands, 7, Adam::kBeta1))),
                  .beta2 = splat(float(call.reals[Adam::kBeta2])),
                  .newSquare = splat(float(1.0 - call.reals[Adam::kBeta2])),
                  .stepSize = splat(float(rate / corrections[0])),
                  .squareCorrection = splat(float(__builtin_sqrt(corrections[1]))),
                  .epsilon = splat(float(call.reals[Adam::kEpsilon])),
                  .weightDecay = splat(float(decay)),
                  .keep = splat(decoupled ? float(1.0 - rate * decay) : 1.0f),
                  .decayGradient = !decoupled && decay != 0.0};
  runElements(runner, call.elements(0), [&](Range range) { rule.update(range); });
}

/// Lion (Chen et al. 2023): the sign of a mixture of the average and the gradient; then the average follows.
struct Lion {
  enum Attributes { kBeta1, kBeta2, kWeightDecay };

  float *param, *grad, *average;
  Vec16 rate, coefficient, newMixture, newAverage, keep;

  void update(Range range) const {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      const Vec16 g = read(grad + i, lanes) * coefficient, m = read(average + i, lanes);
      const Vec16 direction = fma(g - m, newMixture, m);
      // As torch.sign: a zero stays zero, a NaN stays one.
      const Vec16 sign = absolute(direction) > 0.0f ? withSign(splat(1.0f), direction) : direction;
      write(param + i, fma(-rate, sign, read(param + i, lanes) * keep), lanes);
      write(average + i, fma(g - m, newAverage, m), lanes);
      write(grad + i, Vec16{}, lanes);
    });
  }
};

void lion(const Call &call, void *const *operands, void *, TileRunner &runner) {
  if (skipStep(call, operands, runner))
    return;
  const double rate = rateOf(operands[2]);
  const Lion rule{.param = static_cast<float *>(operands[0]),
                  .grad = static_cast<float *>(operands[1]),
                  .average = static_cast<float *>(operands[4]),
                  .rate = splat(float(rate)),
                  .coefficient = splat(coefficientOf(operands[3])),
                  .newMixture = splat(float(1.0 - firstBeta(call, operands, 5, Lion::kBeta1))),
                  .newAverage = splat(float(1.0 - call.reals[Lion::kBeta2])),
                  .keep = splat(float(1.0 - rate * call.reals[Lion::kWeightDecay]))};
  runElements(runner, call.elements(0), [&](Range range) { rule.update(range); });
}

/// torch.optim.Adagrad.
struct Adagrad {
  enum Attributes { kLrDecay, kEpsilon, kWeightDecay };

  float *param, *grad, *sum;
  Vec16 rate, coefficient, epsilon, weightDecay;
  bool useWeightDecay;

  void update(Range range) const {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      const Vec16 p = read(param + i, lanes);
      Vec16 g = read(grad + i, lanes) * coefficient;
      if (useWeightDecay)
        g = fma(p, weightDecay, g);
      const Vec16 squares = fma(g, g, read(sum + i, lanes));
      write(param + i, fma(-rate, g / (squareRoot(squares) + epsilon), p), lanes);
      write(sum + i, squares, lanes);
      write(grad + i, Vec16{}, lanes);
    });
  }
};

void adagrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  if (skipStep(call, operands, runner))
    return;
  const double steps = double(*static_cast<const std::int32_t *>(operands[4])) - 1.0;
  const double rate = rateOf(operands[2]) / (1.0 + steps * call.reals[Adagrad::kLrDecay]);
  const Adagrad rule{.param = static_cast<float *>(operands[0]),
                     .grad = static_cast<float *>(operands[1]),
                     .sum = static_cast<float *>(operands[5]),
                     .rate = splat(float(rate)),
                     .coefficient = splat(coefficientOf(operands[3])),
                     .epsilon = splat(float(call.reals[Adagrad::kEpsilon])),
                     .weightDecay = splat(float(call.reals[Adagrad::kWeightDecay])),
                     .useWeightDecay = call.reals[Adagrad::kWeightDecay] != 0.0};
  runElements(runner, call.elements(0), [&](Range range) { rule.update(range); });
}

/// LAMB as DeepSpeed's FusedLamb: Adam's direction without bias corrections, which are in the step's size,
/// scaled by the ratio of the norms of the parameter and of the direction, within limits.
struct Lamb {
  enum Attributes { kBeta1, kBeta2, kEpsilon, kWeightDecay, kMaxCoefficient, kMinCoefficient };

  float *param, *grad, *average, *square;
  double *paramNorms, *directionNorms; ///< squares of the norms of granules
  Vec16 coefficient, newAverage, beta2, newSquare, epsilon, weightDecay;

  STAGEWRIGHT_INLINE Vec16 direction(Vec16 p, Vec16 m, Vec16 v) const {
    return fma(p, weightDecay, m / (squareRoot(v) + epsilon));
  }

  /// The averages, and the norms of one granule.
  void averageGranule(std::int64_t granule, Range range) const {
    Double16 ofParam{}, ofDirection{};
    eachVector(range, [&](std::int64_t i, auto lanes) {
      const Vec16 p = read(param + i, lanes), g = read(grad + i, lanes) * coefficient;
      Vec16 m = read(average + i, lanes), v = read(square + i, lanes);
      m = fma(g - m, newAverage, m);
      v = fma(newSquare * g, g, v * beta2);
      write(average + i, m, lanes);
      write(square + i, v, lanes);
      write(grad + i, Vec16{}, lanes);
      const Double16 wideParam = widen(p),
                     wideDirection = widen(fill(direction(p, m, v), Vec16{}, lanes)); // epsilon may be 0
      ofParam += wideParam * wideParam;
      ofDirection += wideDirection * wideDirection;
    });
    paramNorms[granule] = sumLanes(ofParam);
    directionNorms[granule] = sumLanes(ofDirection);
  }

  void update(Range range, Vec16 stepSize) const {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      const Vec16 p = read(param + i, lanes);
      const Vec16 u = direction(p, read(average + i, lanes), read(square + i, lanes));
      write(param + i, fma(-stepSize, u, p), lanes);
    });
  }
};

double normOf(const double *squares, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i)
    sum += squares[i];
  return __builtin_sqrt(sum);
}

void lamb(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  if (skipStep(call, operands, runner))
    return;
  const double *const corrections = static_cast<const double *>(operands[4]);
  const std::int64_t granules = ceilDivide(call.elements(0), kElementsPerTile);
  double *const norms = static_cast<double *>(workspace);
  const Lamb rule{.param = static_cast<float *>(operands[0]),
                  .grad = static_cast<float *>(operands[1]),
                  .average = static_cast<float *>(operands[5]),
                  .square = static_cast<float *>(operands[6]),
                  .paramNorms = norms,
                  .directionNorms = norms + granules,
                  .coefficient = splat(coefficientOf(operands[3])),
                  .newAverage = splat(float(1.0 - firstBeta(call, operands, 7, Lamb::kBeta1))),
                  .beta2 = splat(float(call.reals[Lamb::kBeta2])),
                  .newSquare = splat(float(1.0 - call.reals[Lamb::kBeta2])),
                  .epsilon = splat(float(call.reals[Lamb::kEpsilon])),
                  .weightDecay = splat(float(call.reals[Lamb::kWeightDecay]))};
  runGranules(runner, call.elements(0),
              [&](std::int64_t granule, Range range) { rule.averageGranule(granule, range); });
  const double ofParam = normOf(rule.paramNorms, granules),
               ofDirection = normOf(rule.directionNorms, granules);
  const double most = call.reals[Lamb::kMaxCoefficient], fewest = call.reals[Lamb::kMinCoefficient];
  double ratio = 1.0;
  if (ofParam != 0.0 && ofDirection != 0.0) {
    ratio = ofParam / ofDirection;
    ratio = ratio > most ? most : ratio < fewest ? fewest : ratio;
  }
  const Vec16 stepSize =
      splat(float(rateOf(operands[2]) * __builtin_sqrt(corrections[1]) / corrections[0] * ratio));
  runElements(runner, call.elements(0), [&](Range range) { rule.update(range, stepSize); });
}

const HostKernel kKernels[] = {{"gradient_norm_partials", 1, gradientNormPartials},
                               {"clip_coefficient", 1, clipCoefficient},
                               {"sgd", 1, sgd},
                               {"adam", 1, adam},
                               {"lion", 1, lion},
                               {"adagrad", 1, adagrad},
                               {"lamb", 1, lamb}};

} // namespace

extern const Family Optimizer = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
