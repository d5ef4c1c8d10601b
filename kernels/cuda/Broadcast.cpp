// Family broadcast.
#include "catalogue/CudaSums.h"
#include "kernels/cuda/Strided.h"

namespace stagewright::cuda {
namespace {

Result<void> expand(const Enqueue &call) {
  ExpandArguments arguments{.x = call.operand(0),
                            .y = call.operand(1),
                            .elements = call.call.elements(1),
                            .scale = static_cast<float>(call.call.reals[0]),
                            .together = 0,
                            .source = broadcast(call.call.operands[0], call.call.operands[1])};
  const Strided &source = arguments.source;
  const std::int64_t pack = call.call.element == kernels::Element::F32 ? 4 : 8;
  const int inner = source.rank - 1;
  bool together = inner >= 0 && source.sizes[inner] % pack == 0;
  for (int i = 0; i < inner && together; ++i) {
    together = source.strides[inner] == 0 || source.strides[i] % pack == 0;
  }
  arguments.together = together;
  return call.launchTyped("expand", gridFor(together ? arguments.elements / pack : arguments.elements),
                          arguments);
}

Result<void> launchSum(const Enqueue &call, const char *name, const SumArguments &arguments) {
  constexpr unsigned kThreads = 256;
  const std::int64_t groups = (arguments.sums + arguments.columns - 1) / arguments.columns;
  return call.launchTyped(name, gridFor(groups * arguments.chunks * kThreads, kThreads), arguments);
}

/// The sums of chunks, [chunks, sums] in the workspace.
Result<void> addChunks(const Enqueue &call, std::int64_t sums, std::int64_t chunks) {
  SumArguments arguments{.x = call.workspace,
                         .y = call.operand(1),
                         .scale = call.call.reals[0],
                         .sums = sums,
                         .terms = chunks,
                         .chunks = 1,
                         .chunk = chunks,
                         .columns =
                             static_cast<std::int32_t>(catalogue::cudaSumPlan(sums, chunks, true).columns),
                         .besideEachOther = 1};
  addDimension(arguments.kept, sums, 1);
  addDimension(arguments.summed, chunks, sums);
  return launchSum(call, "reduce_chunks", arguments);
}

Result<void> reduceSum(const Enqueue &call) {
  const std::int64_t sums = call.call.elements(1), terms = call.call.elements(0) / sums;
  SumArguments arguments{.x = call.operand(0), .y = call.operand(1), .sums = sums, .terms = terms};
  // The dimensions of x with the strides of y: 0 where it sums.
  const Strided dimensions = broadcast(call.call.operands[1], call.call.operands[0]);
  std::int64_t strides[8] = {}, stride = 1;
  for (int i = dimensions.rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= dimensions.sizes[i];
  }
  for (int i = 0; i < dimensions.rank; ++i) {
    addDimension(dimensions.strides[i] == 0 ? arguments.summed : arguments.kept, dimensions.sizes[i],
                 strides[i]);
  }
  arguments.besideEachOther = dimensions.rank > 0 && dimensions.strides[dimensions.rank - 1] != 0;
  const auto plan = catalogue::cudaSumPlan(sums, terms, arguments.besideEachOther);
  arguments.columns = static_cast<std::int32_t>(plan.columns);
  arguments.chunks = plan.chunks;
  arguments.chunk = (terms + plan.chunks - 1) / plan.chunks;
  arguments.scale = plan.chunks == 1 ? call.call.reals[0] : 1.0;
  if (plan.chunks == 1) {
    return launchSum(call, "reduce_sum", arguments);
  }
  arguments.y = call.workspace;
  auto ok = launchSum(call, "reduce_sum_chunks", arguments);
  return ok ? addChunks(call, sums, plan.chunks) : std::move(ok);
}

const CudaKernel kKernels[] = {{"expand", 1, expand}, {"reduce_sum", 1, reduceSum}};

} // namespace

Family broadcastFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
