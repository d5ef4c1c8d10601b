#include "kernels/cuda/OrderedSum.h"

#include <algorithm>

namespace stagewright::cuda {

static const char *kernelOf(catalogue::DType dtype) {
  switch (dtype) {
  case catalogue::DType::F64:
    return "ordered_sum_f64";
  case catalogue::DType::F16:
    return "ordered_sum_f16";
  case catalogue::DType::BF16:
    return "ordered_sum_bf16";
  default:
    return "ordered_sum_f32";
  }
}

Result<void> launchOrderedSum(Api &api, KernelCache &kernels, Stream stream, catalogue::DType dtype,
                              const OrderedSumArguments &arguments) {
  constexpr std::uint64_t kThreads = 256, kMostBlocks = 1 << 14;
  auto function = kernels.function(kernelOf(dtype));
  if (!function) {
    return function.takeError();
  }
  const auto elements = static_cast<std::uint64_t>(arguments.elements);
  const std::uint64_t width = catalogue::byteSize(dtype), bytes = elements * width;
  const std::uint64_t others =
      static_cast<std::uint64_t>(arguments.stride) * width * static_cast<std::uint64_t>(arguments.terms - 2) +
      bytes;
  const Access accesses[] = {
      {arguments.own, bytes, false}, {arguments.others, others, false}, {arguments.y, bytes, true}};
  api.declare(accesses, stream);
  const std::uint64_t blocks = (elements + kThreads - 1) / kThreads;
  return api.launch({.function = *function,
                     .grid = {static_cast<unsigned>(std::clamp<std::uint64_t>(blocks, 1, kMostBlocks)), 1, 1},
                     .threads = kThreads,
                     .arguments = &arguments,
                     .argumentBytes = sizeof arguments},
                    stream);
}

Result<void> loadOrderedSum(Api &api, KernelCache &kernels, Stream stream, catalogue::DType dtype) {
  return launchOrderedSum(api, kernels, stream, dtype,
                          {.own = nullptr,
                           .others = nullptr,
                           .y = nullptr,
                           .elements = 0,
                           .stride = 0,
                           .terms = 2,
                           .position = 0,
                           .accumulates = 0,
                           .divisor = 1});
}

} // namespace stagewright::cuda
