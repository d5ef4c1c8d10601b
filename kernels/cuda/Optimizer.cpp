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

/// One launch for each kMostTensors calls, which have their tensors at the operands `memory`.
template <typename Rule>
Result<void> launchAll(std::span<const Enqueue> calls, const char *name, const Rule &rule,
                       Grid (*gridOf)(std::int64_t elements), std::initializer_list<int> memory) {
  static_assert(sizeof(Tensors<Rule>) <= 4096);
  Tensors<Rule> arguments{rule, {}};
  TensorTable &table = arguments.table;
  std::int64_t blocks = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::int64_t elements = calls[i].call.elements(0);
    const Grid grid = gridOf(elements);
    table.elements[table.count] = elements;
    int number = 0;
    for (const int operand : memory) {
      table.memory[number++][table.count] = calls[i].operand(operand);
    }
    blocks += grid.blocks[0];
    table.firstBlock[++table.count] = static_cast<std::int32_t>(blocks);
    if (table.count < kMostTensors && i + 1 < calls.size()) {
      continue;
    }
    if (auto ok = calls[i].launch(name, {{static_cast<unsigned>(blocks), 1, 1}, grid.threads, 0}, arguments);
        !ok) {
      return ok;
    }
    table = {};
    blocks = 0;
  }
  return {};
}

Result<void> gradientNormPartials(std::span<const Enqueue> calls) {
  return launchAll(calls, "gradient_norm_partials", NoRule(), granuleGrid, {0, 1});
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

Result<void> sgd(std::span<const Enqueue> calls) {
  const Enqueue &call = calls[0];
  enum Attributes { kMomentum, kDampening, kNesterov, kWeightDecay };
  const double *const reals = call.call.reals;
  const SgdArguments rule{.update = updateOf(call),
                          .step = call.operand<const std::int32_t>(4),
                          .buffer = nullptr,
                          .momentum = static_cast<float>(reals[kMomentum]),
                          .undamped = static_cast<float>(1.0 - reals[kDampening]),
                          .weightDecay = static_cast<float>(reals[kWeightDecay]),
                          .nesterov = call.call.integers[kNesterov] != 0};
  if (reals[kMomentum] == 0.0) {
    return launchAll(calls, "sgd", rule, updateGrid, {0, 1});
  }
  return launchAll(calls, "sgd", rule, updateGrid, {0, 1, 5});
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

Result<void> adam(std::span<const Enqueue> calls) {
  const Enqueue &call = calls[0];
  AdamArguments arguments = adamArguments(call);
  if (call.call.integers[kDecoupled] != 0) {
    arguments.decay = call.call.reals[kWeightDecay];
    arguments.weightDecay = 0;
  }
  return launchAll(calls, "adam", arguments, updateGrid, {0, 1, 5, 6});
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

Result<void> lion(std::span<const Enqueue> calls) {
  const Enqueue &call = calls[0];
  enum Attributes { kBeta1, kBeta2, kWeightDecay };
  const double *const reals = call.call.reals;
  return launchAll(calls, "lion",
                   LionArguments{.update = updateOf(call),
                                 .average = call.operand<float>(4),
                                 .firstBeta = firstBeta(call, 5),
                                 .beta1 = reals[kBeta1],
                                 .weightDecay = reals[kWeightDecay],
                                 .newAverage = static_cast<float>(1.0 - reals[kBeta2])},
                   updateGrid, {0, 1, 4});
}

Result<void> adagrad(std::span<const Enqueue> calls) {
  const Enqueue &call = calls[0];
  enum Attributes { kLrDecay, kEpsilon, kWeightDecay };
  const double *const reals = call.call.reals;
  return launchAll(calls, "adagrad",
                   AdagradArguments{.update = updateOf(call),
                                    .step = call.operand<const std::int32_t>(4),
                                    .sum = call.operand<float>(5),
                                    .rateDecay = reals[kLrDecay],
                                    .epsilon = static_cast<float>(reals[kEpsilon]),
                                    .weightDecay = static_cast<float>(reals[kWeightDecay])},
                   updateGrid, {0, 1, 5});
}

/// Bits of these operands: in them calls may differ that are one launch.
constexpr std::uint32_t tensors(std::initializer_list<int> operands) {
  std::uint32_t bits = 0;
  for (const int operand : operands) {
    bits |= 1u << operand;
  }
  return bits;
}

const CudaKernel kKernels[] = {
    {"gradient_norm_partials", 1, nullptr, nullptr, gradientNormPartials, tensors({0, 1})},
    {"clip_coefficient", 1, clipCoefficient},
    {"sgd", 1, nullptr, nullptr, sgd, tensors({0, 1, 5})},
    {"adam", 1, nullptr, nullptr, adam, tensors({0, 1, 5, 6})},
    {"lion", 1, nullptr, nullptr, lion, tensors({0, 1, 4})},
    {"adagrad", 1, nullptr, nullptr, adagrad, tensors({0, 1, 5})},
    {"lamb", 1, lamb}, // norms of each tensor, in workspace
};

} // namespace

Family optimizerFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
