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

/// torch.nn.utils.clip_grad_norm_: min(1, max_norm / (norm + 1e-6)); a NaN stays.
void clipCoefficient(const Call &call, void *const *operands, void *, TileRunner &) {
  const double *const partials = static_cast<const double *>(operands[0]);
  double sum = 0;
  for (std::int64_t i = 0; i < call.elements(0); ++i)
    sum += partials[i];
  const double norm = __builtin_sqrt(sum), coefficient = call.reals[0] / (norm + 1e-6);
  *static_cast<float *>(operands[1]) = coefficient > 1.0 ? 1.0f : float(coefficient);
  *static_cast<double *>(operands[2]) = norm;
}

float coefficientOf(const void *operand) {
  return *static_cast<const float *>(operand);
}
double rateOf(const void *operand) {
  return *static_cast<const double *>(operand);
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
  const double rate = rateOf(operands[2]), decay = call.reals[Adam::kWeightDecay];
  const double *const corrections = static_cast<const double *>(operands[4]);
  const bool decoupled = call.integers[Adam::kDecoupled] != 0;
  const Adam rule{.param = static_cast<float *>(operands[0]),
                  .grad = static_cast<float *>(operands[1]),
                  .average = static_cast<float *>(operands[5]),
                  .square = static_cast<float *>(operands[6]),
                  .coefficient = splat(coefficientOf(operands[3])),
                  .newAverage = splat(float(1.0 - call.reals[Adam::kBeta1])),
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

const HostKernel kKernels[] = {{"gradient_norm_partials", 1, gradientNormPartials},
                               {"clip_coefficient", 1, clipCoefficient},
                               {"sgd", 1, sgd},
                               {"adam", 1, adam}};

} // namespace

extern const Family Optimizer = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
