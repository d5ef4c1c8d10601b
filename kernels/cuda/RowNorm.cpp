// Family row norm: one launch each; a weight gradient of many rows has two.
#include "catalogue/CudaSums.h"
#include "kernels/cuda/Rows.h"
#include "kernels/cuda/device/RowNormArguments.h"

namespace stagewright::cuda {
namespace {

/// The rows of `matrix`, and epsilon.
RowNormArguments argumentsOf(const RowLaunch &rows, const Enqueue &call) {
  RowNormArguments arguments{};
  arguments.layout = rows.layout;
  arguments.epsilon = static_cast<float>(call.call.reals[0]);
  return arguments;
}

RowLaunch rowsOf(const Enqueue &call) {
  return rowLaunch(call, call.call.size(0, 0), call.call.size(0, 1));
}

Result<void> layerNorm(const Enqueue &call) {
  const RowLaunch rows = rowsOf(call);
  RowNormArguments arguments = argumentsOf(rows, call);
  arguments.x = call.operand(0);
  arguments.y = call.operand(1);
  arguments.mean = call.operand<float>(2);
  arguments.rstd = call.operand<float>(3);
  arguments.weight = call.operand<const float>(4);
  arguments.bias = call.operand<const float>(5);
  return call.launchTyped("layer_norm", rows.grid, arguments);
}

/// `name`: rms_norm, or normalize, which has no weight.
Result<void> withoutMean(const Enqueue &call, const char *name, bool hasWeight) {
  const RowLaunch rows = rowsOf(call);
  RowNormArguments arguments = argumentsOf(rows, call);
  arguments.x = call.operand(0);
  arguments.y = call.operand(1);
  arguments.rstd = call.operand<float>(2);
  arguments.weight = hasWeight ? call.operand<const float>(3) : nullptr;
  return call.launchTyped(name, rows.grid, arguments);
}

/// Operands g, x, mean (not of rms_norm and normalize), rstd, dx, weight.
Result<void> normGrad(const Enqueue &call, const char *name, bool hasMean, bool hasWeight) {
  const RowLaunch rows = rowsOf(call);
  const int shift = hasMean ? 1 : 0;
  RowNormArguments arguments = argumentsOf(rows, call);
  arguments.g = call.operand(0);
  arguments.x = call.operand(1);
  arguments.mean = hasMean ? call.operand<float>(2) : nullptr;
  arguments.rstd = call.operand<float>(2 + shift);
  arguments.y = call.operand(3 + shift);
  arguments.weight = hasWeight ? call.operand<const float>(4 + shift) : nullptr;
  return call.launchTyped(name, rows.grid, arguments);
}

Result<void> weightGrad(const Enqueue &call, bool hasMean) {
  const int shift = hasMean ? 1 : 0;
  return addColumns(call, call.operand(1), hasMean ? call.operand<const float>(2) : nullptr,
                    call.operand<const float>(2 + shift), call.operand<float>(3 + shift));
}

const CudaKernel kKernels[] = {
    {"layer_norm", 1, layerNorm},
    {"layer_norm_grad", 1, [](const Enqueue &call) { return normGrad(call, "norm_grad", true, true); }},
    {"layer_norm_weight_grad", 1, [](const Enqueue &call) { return weightGrad(call, true); }},
    {"rms_norm", 1, [](const Enqueue &call) { return withoutMean(call, "rms_norm", true); }},
    {"rms_norm_grad", 1, [](const Enqueue &call) { return normGrad(call, "norm_grad", false, true); }},
    {"rms_norm_weight_grad", 1, [](const Enqueue &call) { return weightGrad(call, false); }},
    {"normalize", 1, [](const Enqueue &call) { return withoutMean(call, "normalize", false); }},
    {"normalize_grad", 1, [](const Enqueue &call) { return normGrad(call, "normalize_grad", false, false); }},
};

} // namespace

Result<void> addColumns(const Enqueue &call, const void *x, const float *mean, const float *rstd,
                        float *acc) {
  const std::int64_t rows = call.call.size(0, 0), columns = call.call.size(0, 1);
  const std::int64_t chunks = catalogue::rowChunks(rows);
  const std::int64_t pack = packOf(call);
  const bool isAligned = columns % pack == 0;
  const std::int64_t width = isAligned ? 32 * pack : 32;
  ColumnSumArguments arguments{};
  arguments.rows = rows;
  arguments.columns = columns;
  arguments.rowsOfChunk = catalogue::rowsOfChunk(rows);
  arguments.g = call.operand(0);
  arguments.x = x;
  arguments.mean = mean;
  arguments.rstd = rstd;
  arguments.acc = acc;
  arguments.partials = static_cast<float *>(call.workspace);
  arguments.isAligned = isAligned;
  if (auto ok =
          call.launchTyped("add_columns", blocksFor(chunks * ((columns + width - 1) / width)), arguments);
      !ok || chunks == 1) {
    return ok;
  }
  return call.launch("add_partials", blocksFor((columns + 31) / 32),
                     AddPartialsArguments{chunks, columns, arguments.partials, acc});
}

Family rowNormFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
