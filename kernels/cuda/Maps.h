// Launches of kernels that work element by element.
#ifndef STAGEWRIGHT_KERNELS_CUDA_MAPS_H
#define STAGEWRIGHT_KERNELS_CUDA_MAPS_H

#include "kernels/cuda/Family.h"
#include "kernels/cuda/device/MapArguments.h"

#include <initializer_list>

namespace stagewright::cuda {

/// Kernel `name` of the call's element type on these operands, which all have the first one's elements.
inline Result<void> map(const Enqueue &call, const char *name, std::initializer_list<int> inputs,
                        std::initializer_list<int> outputs, float number = 0, int choice = 0) {
  MapArguments arguments{};
  int at = 0;
  for (const int input : inputs) {
    arguments.inputs[at++] = call.operand(input);
  }
  at = 0;
  for (const int output : outputs) {
    arguments.outputs[at++] = call.operand(output);
  }
  arguments.elements = call.call.elements(*inputs.begin());
  arguments.number = number;
  arguments.choice = choice;
  constexpr std::int64_t kPerThread = 8; // of two bytes each: one pack
  return call.launchTyped(name, gridFor((arguments.elements + kPerThread - 1) / kPerThread), arguments);
}

} // namespace stagewright::cuda

#endif
