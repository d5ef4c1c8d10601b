// Launches of kernels that work element by element.
#ifndef STAGEWRIGHT_KERNELS_CUDA_MAPS_H
#define STAGEWRIGHT_KERNELS_CUDA_MAPS_H

#include "kernels/cuda/Family.h"
#include "kernels/cuda/device/MapArguments.h"

#include <initializer_list>

namespace stagewright::cuda {

/// These operands, which all have the first one's elements.
inline MapArguments mapArguments(const Enqueue &call, std::initializer_list<int> inputs,
                                 std::initializer_list<int> outputs, float number = 0, int choice = 0,
                                 float second = 0) {
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
  arguments.second = second;
  return arguments;
}

inline Grid mapGrid(std::int64_t elements) {
  constexpr std::int64_t kPerThread = 8; // of two bytes each: one pack
  return gridFor((elements + kPerThread - 1) / kPerThread);
}

/// Kernel `name` of the call's element type.
inline Result<void> map(const Enqueue &call, const char *name, std::initializer_list<int> inputs,
                        std::initializer_list<int> outputs, float number = 0, int choice = 0,
                        float second = 0) {
  const MapArguments arguments = mapArguments(call, inputs, outputs, number, choice, second);
  return call.launchTyped(name, mapGrid(arguments.elements), arguments);
}

} // namespace stagewright::cuda

#endif
