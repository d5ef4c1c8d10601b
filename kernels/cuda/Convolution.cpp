// Family convolution: by cuDNN where it has a plan for the call, else by kernels of ours.
#include "catalogue/CudaSums.h"
#include "kernels/cuda/Rows.h"
#include "kernels/cuda/device/ConvolutionArguments.h"

#include <limits>
#include <vector>

namespace stagewright::cuda {
namespace {

using Kind = Convolution::Kind;

constexpr std::int64_t kTile = 64;    ///< rows and columns of a block's tile (device/Convolution.cu)
constexpr std::int64_t kThinRows = 4; ///< groups of no more rows are run without tiles

Convolution describe(const Call &call, Kind kind) {
  const int x = kind == Kind::Forward ? 0 : kind == Kind::WeightGradient ? 1 : 2;
  const int y = kind == Kind::Forward ? 2 : 0, weight = kind == Kind::WeightGradient ? 2 : 1;
  const int lists = kind == Kind::WeightGradient ? 0 : 1; // attributes: `kernel` comes first
  Convolution out;
  out.kind = kind;
  out.element = call.element;
  out.result = kind == Kind::WeightGradient ? Element::F32 : call.element;
  out.hasBias = kind == Kind::Forward && call.operands[3].present;
  out.samples = call.size(x, 0);
  out.inputs = call.size(x, 1);
  out.outputs = call.size(y, 1);
  out.groups = call.integers[lists + 3];
  for (int i = 0; i < 2; ++i) {
    const auto at = static_cast<std::size_t>(i);
    out.image[at] = call.size(x, 2 + i);
    out.filter[at] = call.size(weight, 2 + i);
    out.positions[at] = call.size(y, 2 + i);
    out.stride[at] = call.lists[lists].values[i];
    out.padding[at] = call.lists[lists + 1].values[i];
    out.dilation[at] = call.lists[lists + 2].values[i];
  }
  return out;
}

std::int64_t tapsOf(const Convolution &c) {
  return c.filter[0] * c.filter[1];
}
/// Bytes that are cuDNN's.
std::size_t scratchBytes(const Convolution &c) {
  return catalogue::convolutionScratch(c.samples, c.inputs, c.image[0] * c.image[1], c.outputs,
                                       c.positions[0] * c.positions[1]);
}
std::int64_t weightElements(const Convolution &c) {
  return c.outputs * (c.inputs / c.groups) * tapsOf(c);
}

// ---- Kernels of ours ----

/// What their numbers of 32 bits hold.
Result<void> checkSizes(const Convolution &c) {
  constexpr std::int64_t kPlane = std::int64_t{1} << 30;
  const auto isLarge = [](const Convolution::Pair &plane) { return plane[0] >= kPlane / plane[1]; };
  if (isLarge(c.image) || isLarge(c.positions) ||
      std::max(c.inputs, c.outputs) / c.groups > std::numeric_limits<std::int32_t>::max() / tapsOf(c)) {
    return userError("a convolution on CUDA",
                     "without cuDNN images have fewer than 2^30 elements, and filters than 2^31",
                     "install cuDNN, or train with --target host");
  }
  return {};
}

ConvolutionAxis axisOf(const Convolution &c, std::size_t i) {
  const auto number = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
  if (c.kind == Kind::InputGradient) {
    return {number(c.positions[i]), number(c.image[i]),     number(c.filter[i]), 1,
            number(c.padding[i]),   number(-c.dilation[i]), number(c.stride[i])};
  }
  return {number(c.image[i]),
          number(c.positions[i]),
          number(c.filter[i]),
          number(c.stride[i]),
          number(-c.padding[i]),
          number(c.dilation[i]),
          1};
}

std::int64_t tilesOf(std::int64_t rows, std::int64_t columns) {
  return (rows + kTile - 1) / kTile * ((columns + kTile - 1) / kTile);
}

/// y of x, or dx of g: `from`, `to`.
Result<void> convolve(const Enqueue &call, const Convolution &c, const void *from, void *to) {
  const bool isForward = c.kind == Kind::Forward;
  const std::int64_t inputs = c.inputs / c.groups, outputs = c.outputs / c.groups, taps = tapsOf(c);
  ConvolutionArguments arguments{};
  arguments.image = from;
  arguments.weight = call.operand(1);
  arguments.result = to;
  arguments.bias = c.hasBias ? call.operand(3) : nullptr;
  arguments.samples = c.samples;
  arguments.groups = c.groups;
  arguments.rows = isForward ? outputs : inputs;
  arguments.channels = static_cast<std::uint32_t>(isForward ? inputs : outputs);
  arguments.weightRow = isForward ? inputs * taps : taps;
  arguments.weightChannel = isForward ? taps : inputs * taps;
  arguments.down = axisOf(c, 0);
  arguments.across = axisOf(c, 1);
  const Convolution::Pair &plane = isForward ? c.positions : c.image;
  const std::int64_t positions = c.samples * plane[0] * plane[1];
  if (arguments.rows <= kThinRows) {
    return call.launchTyped("convolve_thin", gridFor(positions * c.groups * arguments.rows), arguments);
  }
  return call.launchTyped("convolve", blocksFor(tilesOf(arguments.rows, positions) * c.groups), arguments);
}

/// Positions of all samples are cut into chunks, by the shape alone: enough of them for a large GPU, and no
/// more than partial sums have room for.
std::int64_t chunkPositions(const Convolution &c) {
  constexpr std::int64_t kBlocks = 1024, kLeastPositions = 512, kDepth = 16;
  const std::int64_t positions = c.samples * c.positions[0] * c.positions[1],
                     columns = c.inputs / c.groups * tapsOf(c),
                     tiles = tilesOf(c.outputs / c.groups, columns) * c.groups;
  const auto room = static_cast<std::int64_t>(catalogue::kCudaWorkspace / sizeof(float));
  const std::int64_t chunks = std::max<std::int64_t>(
      1, std::min({(kBlocks + tiles - 1) / tiles, positions / kLeastPositions, room / weightElements(c)}));
  return ((positions + chunks - 1) / chunks + kDepth - 1) / kDepth * kDepth;
}

Result<void> addTo(const Enqueue &call, const Convolution &c, const void *values, std::int64_t count,
                   Element element) {
  const ConvolutionSumArguments arguments{values, call.operand<float>(2), weightElements(c), count};
  return call.launchTyped("convolution_sum", gridFor(arguments.elements), arguments, element);
}

Result<void> convolveWeight(const Enqueue &call, const Convolution &c) {
  ConvolutionWeightArguments arguments{};
  arguments.g = call.operand(0);
  arguments.x = call.operand(1);
  arguments.acc = call.operand<float>(2);
  arguments.samples = c.samples;
  arguments.groups = c.groups;
  arguments.rows = c.outputs / c.groups;
  arguments.channels = static_cast<std::uint32_t>(c.inputs / c.groups);
  arguments.down = axisOf(c, 0);
  arguments.across = axisOf(c, 1);
  if (arguments.rows <= kThinRows) {
    return call.launchTyped("convolve_weight_thin", blocksFor(weightElements(c)), arguments);
  }
  arguments.chunkPositions = chunkPositions(c);
  arguments.chunks =
      (c.samples * c.positions[0] * c.positions[1] + arguments.chunkPositions - 1) / arguments.chunkPositions;
  arguments.partials = arguments.chunks > 1 ? static_cast<float *>(call.workspace) : nullptr;
  const std::int64_t columns = c.inputs / c.groups * tapsOf(c);
  auto done =
      call.launchTyped("convolve_weight",
                       blocksFor(tilesOf(arguments.rows, columns) * c.groups * arguments.chunks), arguments);
  return done && arguments.partials ? addTo(call, c, arguments.partials, arguments.chunks, Element::F32)
                                    : std::move(done);
}

// ---- Who runs a call ----

struct Choice {
  Convolution convolution;       ///< that is run
  const DnnPlan *plan = nullptr; ///< null: by a kernel of ours
};

/// The first of these that cuDNN has a plan for: with the bias, or without it; a weight gradient in fp32, or
/// rounded to the call's type before it is added to the accumulator.
Result<Choice> choose(const Call &call, Kind kind, KernelCache &cache) {
  const Convolution whole = describe(call, kind);
  std::vector<Convolution> wanted = {whole};
  if (whole.hasBias) {
    wanted.push_back(whole);
    wanted.back().hasBias = false;
  }
  if (whole.result != whole.element) {
    wanted.push_back(whole);
    wanted.back().result = whole.element;
  }
  for (const Convolution &convolution : wanted) {
    auto plan = cache.plan(convolution, scratchBytes(convolution));
    if (!plan) {
      return plan.takeError();
    }
    if ((*plan)->handle) {
      return Choice{convolution, *plan};
    }
  }
  if (auto ok = checkSizes(whole); !ok) {
    return ok.takeError();
  }
  return Choice{whole, nullptr};
}

template <Kind kind>
Result<Runner> plan(const Call &call, KernelCache &cache) {
  auto choice = choose(call, kind, cache);
  if (!choice) {
    return choice.takeError();
  }
  return choice->plan ? Runner::Dnn : Runner::Own;
}

Result<void> conv2d(const Enqueue &call) {
  auto choice = choose(call.call, Kind::Forward, call.cache);
  if (!choice) {
    return choice.takeError();
  }
  if (!choice->plan) {
    return convolve(call, choice->convolution, call.operand(0), call.operand(2));
  }
  void *const bias = call.has(3) ? call.operand(3) : nullptr;
  auto done =
      choice->convolution.hasBias
          ? call.run(*choice->plan, {call.operand(0), call.operand(1), call.operand(2), bias}, call.workspace)
          : call.run(*choice->plan, {call.operand(0), call.operand(1), call.operand(2)}, call.workspace);
  if (!done || !bias || choice->convolution.hasBias) {
    return done;
  }
  const ConvolutionBiasArguments arguments{call.operand(2), bias, call.call.elements(2), call.call.size(2, 1),
                                           call.call.size(2, 2) * call.call.size(2, 3)};
  return call.launchTyped("convolution_bias", gridFor(arguments.elements), arguments);
}

Result<void> conv2dInputGrad(const Enqueue &call) {
  auto choice = choose(call.call, Kind::InputGradient, call.cache);
  if (!choice) {
    return choice.takeError();
  }
  return choice->plan
             ? call.run(*choice->plan, {call.operand(0), call.operand(1), call.operand(2)}, call.workspace)
             : convolve(call, choice->convolution, call.operand(0), call.operand(2));
}

/// cuDNN's gradient lies in front of its own workspace.
Result<void> conv2dWeightGrad(const Enqueue &call) {
  auto choice = choose(call.call, Kind::WeightGradient, call.cache);
  if (!choice) {
    return choice.takeError();
  }
  const Convolution &c = choice->convolution;
  if (!choice->plan) {
    return convolveWeight(call, c);
  }
  void *const scratch =
      static_cast<std::byte *>(call.workspace) + catalogue::weightGradientBytes(weightElements(c));
  auto done = call.run(*choice->plan, {call.operand(0), call.operand(1), call.workspace}, scratch);
  return done ? addTo(call, c, call.workspace, 1, c.result) : std::move(done);
}

const CudaKernel kKernels[] = {
    {"conv2d", 2, conv2d, plan<Kind::Forward>},
    {"conv2d_input_grad", 2, conv2dInputGrad, plan<Kind::InputGradient>},
    {"conv2d_weight_grad", 1, conv2dWeightGrad, plan<Kind::WeightGradient>},
};

} // namespace

Family convolutionFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
