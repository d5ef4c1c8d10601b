// Family dropout.
#include "kernels/cuda/Dropout.h"

#include "kernels/cuda/Maps.h"

namespace stagewright::cuda {
namespace {

Result<void> dropout(const Enqueue &call) {
  const std::int64_t elements = call.call.elements(0);
  return call.launchTyped("dropout", mapGrid(elements),
                          DropoutArguments{call.operand(0), call.operand(2), elements,
                                           dropoutNumbers(call.operand(1), call.call.reals[0],
                                                          call.call.integers[1], call.call.integers[2])});
}

Result<void> castStochastic(const Enqueue &call) {
  const std::int64_t elements = call.call.elements(0);
  return call.launchTyped("cast_stochastic", mapGrid(elements),
                          StochasticCastArguments{call.operand(0), call.operand(2), elements,
                                                  static_cast<const std::uint32_t *>(call.operand(1)),
                                                  static_cast<std::uint32_t>(call.call.integers[0]),
                                                  static_cast<std::int32_t>(call.call.integers[1])});
}

const CudaKernel kKernels[] = {{"dropout", 1, dropout}, {"cast_stochastic", 1, castStochastic}};

} // namespace

Family dropoutFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
