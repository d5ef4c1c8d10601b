// Family rotary.
#include "kernels/cuda/Maps.h"
#include "kernels/cuda/device/RotaryArguments.h"

namespace stagewright::cuda {
namespace {

Result<void> rotaryTable(const Enqueue &call) {
  const std::int64_t rows = call.call.size(0, 0), half = call.call.size(0, 1) / 2;
  return call.launch("rotary_table", gridFor(rows * half),
                     RotaryTableArguments{call.operand<float>(0), rows, half, call.call.reals[0]});
}

/// Row (b, s, h) is rotated by the angles of position s. A rotation backwards is the gradient.
Result<void> rotary(const Enqueue &call) {
  const std::int64_t elements = call.call.elements(0), width = call.call.size(0, 3);
  return call.launchTyped("rotary", mapGrid(elements),
                          RotaryArguments{.x = call.operand(0),
                                          .table = call.operand<const float>(1),
                                          .y = call.operand(2),
                                          .rows = elements / width,
                                          .positions = call.call.size(0, 1),
                                          .heads = call.call.size(0, 2),
                                          .half = width / 2,
                                          .sign = call.call.integers[0] ? -1.0f : 1.0f,
                                          .interleaved = call.call.integers[1] != 0});
}

const CudaKernel kKernels[] = {{"rotary_table", 1, rotaryTable}, {"rotary", 1, rotary}};

} // namespace

Family rotaryFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
