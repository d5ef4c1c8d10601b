// Family pooling: one launch each.
#include "kernels/cuda/Rows.h"
#include "kernels/cuda/device/PoolingArguments.h"

namespace stagewright::cuda {
namespace {

/// Of dimension `axis` (0: rows, 1: columns).
PoolWindows windowsOf(const Enqueue &call, int image, int pooled, int axis, bool isDilated) {
  return {.kernel = call.call.lists[0].values[axis],
          .stride = call.call.lists[1].values[axis],
          .padding = call.call.lists[2].values[axis],
          .dilation = isDilated ? call.call.lists[3].values[axis] : 1,
          .size = call.call.size(image, 2 + axis),
          .outputs = call.call.size(pooled, 2 + axis)};
}

/// From operand 0 to operand 1.
PoolArguments poolArguments(const Enqueue &call, int image, bool isDilated) {
  PoolArguments arguments{};
  arguments.planes = call.call.size(0, 0) * call.call.size(0, 1);
  arguments.rows = windowsOf(call, image, 1 - image, 0, isDilated);
  arguments.columns = windowsOf(call, image, 1 - image, 1, isDilated);
  arguments.from = call.operand(0);
  arguments.to = call.operand(1);
  return arguments;
}

Result<void> maxPool(const Enqueue &call) {
  PoolArguments arguments = poolArguments(call, 0, true);
  arguments.index = call.operand<std::int32_t>(2);
  return call.launchTyped("max_pool2d", gridFor(call.call.elements(1)), arguments);
}

Result<void> maxPoolGrad(const Enqueue &call) {
  constexpr std::int64_t kMostRows = 1024, kMostGroups = 2048, kBandElements = 65536;
  MaxPoolGradArguments arguments{};
  arguments.planes = call.call.size(0, 0) * call.call.size(0, 1);
  arguments.rows = call.call.size(0, 2);
  arguments.columns = call.call.size(0, 3);
  arguments.height = call.call.size(2, 2);
  arguments.width = call.call.size(2, 3);
  arguments.bandRows =
      std::clamp<std::int64_t>(kBandElements / arguments.width, 1, std::min(kMostRows, arguments.height));
  const auto groups = [&] { return ((arguments.width - 1) >> arguments.columnShift) + 1; };
  while (groups() > kMostGroups) {
    ++arguments.columnShift;
  }
  arguments.columnGroups = static_cast<std::int32_t>(groups());
  arguments.g = call.operand(0);
  arguments.index = call.operand<const std::int32_t>(1);
  arguments.dx = call.operand(2);
  const std::int64_t bands = (arguments.height + arguments.bandRows - 1) / arguments.bandRows;
  Grid grid = blocksFor(arguments.planes * bands);
  grid.sharedBytes = static_cast<std::size_t>(2 * (arguments.bandRows + groups())) * sizeof(std::int32_t);
  return call.launchTyped("max_pool2d_grad", grid, arguments);
}

Result<void> averagePool(const Enqueue &call, const char *name, int image) {
  PoolArguments arguments = poolArguments(call, image, false);
  arguments.countPadding = call.call.integers[3] != 0;
  arguments.divisor = static_cast<float>(call.call.integers[4]);
  return call.launchTyped(name, gridFor(call.call.elements(1)), arguments);
}

/// A warp adds up a part of at least 16 elements.
Result<void> adaptivePool(const Enqueue &call) {
  PoolArguments arguments = poolArguments(call, 0, false);
  arguments.byWarp = call.call.elements(0) >= 16 * call.call.elements(1);
  return call.launchTyped("adaptive_avg_pool2d", gridFor(call.call.elements(1) * (arguments.byWarp ? 32 : 1)),
                          arguments);
}

Result<void> adaptivePoolGrad(const Enqueue &call) {
  return call.launchTyped("adaptive_avg_pool2d_grad", gridFor(call.call.elements(1)),
                          poolArguments(call, 1, false));
}

const CudaKernel kKernels[] = {
    {"max_pool2d", 1, maxPool},
    {"max_pool2d_grad", 1, maxPoolGrad},
    {"avg_pool2d", 1, [](const Enqueue &call) { return averagePool(call, "avg_pool2d", 0); }},
    {"avg_pool2d_grad", 1, [](const Enqueue &call) { return averagePool(call, "avg_pool2d_grad", 1); }},
    {"adaptive_avg_pool2d", 1, adaptivePool},
    {"adaptive_avg_pool2d_grad", 1, adaptivePoolGrad},
};

} // namespace

Family poolingFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
