// Family arithmetic.
#include "kernels/cuda/Maps.h"

namespace stagewright::cuda {
namespace {

Result<void> scale(const Enqueue &call) {
  const double factor = call.call.reals[0], shift = call.call.reals[1];
  return map(call, "scale", {0}, {1}, static_cast<float>(factor), shift != 0.0, static_cast<float>(shift));
}

/// A kernel of floats that changes its operands, the first ones of the call.
Result<void> change(const Enqueue &call, const char *name, std::initializer_list<int> operands) {
  const MapArguments arguments = mapArguments(call, {0}, operands);
  return call.launch(name, mapGrid(arguments.elements), arguments);
}

const CudaKernel kKernels[] = {
    {"add", 1,
     [](const Enqueue &call) {
       return map(call, "add", {0, 1}, {2});
     }},
    {"subtract", 1,
     [](const Enqueue &call) {
       return map(call, "subtract", {0, 1}, {2});
     }},
    {"multiply", 1,
     [](const Enqueue &call) {
       return map(call, "multiply", {0, 1}, {2});
     }},
    {"divide", 1,
     [](const Enqueue &call) {
       return map(call, "divide", {0, 1}, {2});
     }},
    {"scale", 1, scale},
    {"accumulate", 1, [](const Enqueue &call) { return map(call, "accumulate", {0}, {1}); }},
    {"add_and_clear", 1,
     [](const Enqueue &call) {
       return change(call, "add_and_clear", {0, 1});
     }},
    {"clear", 1, [](const Enqueue &call) { return change(call, "clear", {0}); }},
    {"cast_to", 1, [](const Enqueue &call) { return map(call, "cast_to", {0}, {1}); }},
    {"cast_from", 1, [](const Enqueue &call) { return map(call, "cast_from", {0}, {1}); }},
};

} // namespace

Family arithmeticFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
