// Family optimizer.
#include "kernels/cuda/Family.h"
#include "kernels/cuda/device/OptimizerArguments.h"

namespace stagewright::cuda {
namespace {

static_assert(kNormGranule == catalogue::kGranule);

/// A block for each granule of so many elements; one that is too large for a grid cannot be allocated either.
Grid granuleGrid(std::int64_t elements) {
  return {{static_cast<unsigned>(catalogue::granules(elements)), 1, 1}, 512, 0};
}
/// Sixteen elements for each thread: what a block begins with is then a small part of its work.
Grid updateGrid(std::int64_t elements) {
  return gridFor((elements + 15) / 16);
}
constexpr Grid kOneBlock = {{1, 1, 1}, 1024, 0};

Result<void> gradientNormPartials(const Enqueue &call) {
  const std::int64_t elements = call.call.elements(0);
  return call.launch("gradient_norm_partials", granuleGrid(elements),
                     NormArguments{call.operand<const float>(0), call.operand<double>(1), elements});
}

Result<void> clipCoefficient(const Enqueue &call) {
  return call.launch("clip_coefficient", kOneBlock,
                     ClipArguments{.partials = call.operand<const double>(0),
                                   .coefficient = call.operand<float>(1),
                                   .norm = call.operand<double>(2),
                                   .lossScale = call.has(3) ? call.operand<const float>(3) : nullptr,
                                   .count = call.call.elements(0),
                                   .maxNorm = call.call.reals[0],
                                   .skips = call.call.integers[1] != 0});
}

UpdateArguments updateOf(const Enqueue &call) {
  return {call.operand<float>(0), call.operand<float>(1), call.operand<const double>(2),
          call.operand<const float>(3), call.call.elements(0)};
}
/// That of the step where a schedule cycles it.
const double *firstBeta(const Enqueue &call, int operand) {
  return call.has(operand) ? call.operand<const double>(operand) : nullptr;
}

Result<void> sgd(const Enqueue &call) {
  enum Attributes { kMomentum, kDampening, kNesterov, kWeightDecay };
  const double *const reals = call.call.reals;
  return call.launch("sgd", updateGrid(call.call.elements(0)),
                     SgdArguments{.update = updateOf(call),
                                  .step = call.operand<const std::int32_t>(4),
                                  .buffer = reals[kMomentum] != 0.0 ? call.operand<float>(5) : nullptr,
                                  .momentum = static_cast<float>(reals[kMomentum]),
                                  .undamped = static_cast<float>(1.0 - reals[kDampening]),
                                  .weightDecay = static_cast<float>(reals[kWeightDecay]),
                                  .nesterov = call.call.integers[kNesterov] != 0});
}

/// Attributes of adam and lamb.
enum AdamAttributes { kBeta1, kBeta2, kEpsilon, kWeightDecay, kDecoupled, kMaxRatio = kDecoupled, kMinRatio };

AdamArguments adamArguments(const Enqueue &call) {
  const double *const reals = call.call.reals;
  return {.update = updateOf(call),
          .corrections = call.operand<const double>(4),
          .average = call.operand<float>(5),
          .square = call.operand<float>(6),
          .firstBeta = firstBeta(call, 7),
          .beta1 = reals[kBeta1],
          .beta2 = static_cast<float>(reals[kBeta2]),
          .newSquare = static_cast<float>(1.0 - reals[kBeta2]),
          .epsilon = static_cast<float>(reals[kEpsilon]),
          .weightDecay = static_cast<float>(reals[kWeightDecay]),
          .decay = 0};
}

Result<void> adam(const Enqueue &call) {
  AdamArguments arguments = adamArguments(call);
  if (call.call.integers[kDecoupled] != 0) {
    arguments.decay = call.call.reals[kWeightDecay];
    arguments.weightDecay = 0;
  }
  return call.launch("adam", updateGrid(call.call.elements(0)), arguments);
}

Result<void> lamb(const Enqueue &call) {
  const std::int64_t elements = call.call.elements(0);
  const LambArguments arguments{.adam = adamArguments(call),
                                .norms = static_cast<double *>(call.workspace),
                                .most = call.call.reals[kMaxRatio],
                                .fewest = call.call.reals[kMinRatio]};
  if (auto ok = call.launch("lamb_averages", granuleGrid(elements), arguments); !ok) {
    return ok;
  }
  if (auto ok = call.launch("lamb_ratio", kOneBlock, arguments); !ok) {
    return ok;
  }
  return call.launch("lamb_step", updateGrid(elements), arguments);
}

Result<void> lion(const Enqueue &call) {
  enum Attributes { kBeta1, kBeta2, kWeightDecay };
  const double *const reals = call.call.reals;
  return call.launch("lion", updateGrid(call.call.elements(0)),
                     LionArguments{.update = updateOf(call),
                                   .average = call.operand<float>(4),
                                   .firstBeta = firstBeta(call, 5),
                                   .beta1 = reals[kBeta1],
                                   .weightDecay = reals[kWeightDecay],
                                   .newAverage = static_cast<float>(1.0 - reals[kBeta2])});
}

Result<void> adagrad(const Enqueue &call) {
  enum Attributes { kLrDecay, kEpsilon, kWeightDecay };
  const double *const reals = call.call.reals;
  return call.launch("adagrad", updateGrid(call.call.elements(0)),
                     AdagradArguments{.update = updateOf(call),
                                      .step = call.operand<const std::int32_t>(4),
                                      .sum = call.operand<float>(5),
                                      .rateDecay = reals[kLrDecay],
                                      .epsilon = static_cast<float>(reals[kEpsilon]),
                                      .weightDecay = static_cast<float>(reals[kWeightDecay])});
}

const CudaKernel kKernels[] = {
    {"gradient_norm_partials", 1, gradientNormPartials},
    {"clip_coefficient", 1, clipCoefficient},
    {"sgd", 1, sgd},
    {"adam", 1, adam},
    {"lion", 1, lion},
    {"adagrad", 1, adagrad},
    {"lamb", 1, lamb},
};

} // namespace

Family optimizerFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
