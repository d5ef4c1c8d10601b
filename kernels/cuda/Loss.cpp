// Family loss: a launch for the rows or granules, and one of a single block that adds them up.
#include "kernels/cuda/Rows.h"
#include "kernels/cuda/device/LossArguments.h"

namespace stagewright::cuda {
namespace {

constexpr Grid kOneBlock = {{1, 1, 1}, 1024, 0};

RowLaunch rowsOf(const Enqueue &call) {
  return rowLaunch(call, call.call.size(0, 0), call.call.size(0, 1));
}

/// Operands labels, valid_rows, loss and count of both cross entropies; the losses of rows are in the
/// workspace.
Result<void> meanOfRows(const Enqueue &call, std::int64_t columns) {
  return call.launch("mean_of_rows", kOneBlock,
                     MeanOfRowsArguments{.rows = call.call.size(1, 0),
                                         .columns = columns,
                                         .rowsPerSample = call.call.integers[2],
                                         .ignored = call.call.integers[0],
                                         .losses = static_cast<const float *>(call.workspace),
                                         .labels = call.operand<const std::int32_t>(1),
                                         .validRows = call.operand<const std::int32_t>(2),
                                         .loss = call.operand<float>(3),
                                         .count = call.operand<float>(5)});
}

Result<void> crossEntropy(const Enqueue &call) {
  const RowLaunch rows = rowsOf(call);
  CrossEntropyRowsArguments arguments{};
  arguments.layout = rows.layout;
  arguments.logits = call.operand(0);
  arguments.labels = call.operand<const std::int32_t>(1);
  arguments.losses = static_cast<float *>(call.workspace);
  arguments.logSumExp = call.operand<float>(4);
  arguments.smoothing = static_cast<float>(call.call.reals[1]);
  if (auto ok = call.launchTyped("cross_entropy_rows", rows.grid, arguments); !ok) {
    return ok;
  }
  return meanOfRows(call, rows.layout.columns);
}

Result<void> vocabularyStatistics(const Enqueue &call) {
  const RowLaunch rows = rowsOf(call);
  CrossEntropyRowsArguments arguments{};
  arguments.layout = rows.layout;
  arguments.logits = call.operand(0);
  arguments.labels = call.operand<const std::int32_t>(1);
  arguments.tensorRank = call.operand<const std::int32_t>(2);
  arguments.statistics = call.operand<float>(3);
  return call.launchTyped("vocabulary_statistics", rows.grid, arguments);
}

Result<void> vocabularyCrossEntropy(const Enqueue &call) {
  const VocabularyRowsArguments arguments{.ranks = call.call.size(0, 0),
                                          .rows = call.call.size(0, 1),
                                          .vocabulary = call.call.integers[3],
                                          .statistics = call.operand<const float>(0),
                                          .losses = static_cast<float *>(call.workspace),
                                          .logSumExp = call.operand<float>(4),
                                          .smoothing = static_cast<float>(call.call.reals[1])};
  if (auto ok = call.launch("vocabulary_rows", gridFor(arguments.rows), arguments); !ok) {
    return ok;
  }
  return meanOfRows(call, arguments.vocabulary);
}

/// `isPart`: of vocabulary_cross_entropy_grad, which has the operand tensor_rank.
Result<void> crossEntropyGrad(const Enqueue &call, bool isPart) {
  const RowLaunch rows = rowsOf(call);
  const int shift = isPart ? 1 : 0;
  return call.launchTyped("cross_entropy_grad", rows.grid,
                          CrossEntropyGradArguments{
                              .layout = rows.layout,
                              .logits = call.operand(0),
                              .dlogits = call.operand(4 + shift),
                              .labels = call.operand<const std::int32_t>(1),
                              .tensorRank = isPart ? call.operand<const std::int32_t>(2) : nullptr,
                              .logSumExp = call.operand<const float>(2 + shift),
                              .count = call.operand<const float>(3 + shift),
                              .lossScale = call.operand<const float>(5 + shift),
                              .vocabulary = isPart ? call.call.integers[3] : rows.layout.columns,
                              .ignored = call.call.integers[1],
                              .scale = call.call.reals[0],
                              .smoothing = call.call.reals[2],
                          });
}

Result<void> meanOf(const Enqueue &call, const char *granules) {
  const MeanArguments arguments{.rows = call.call.size(0, 0),
                                .elements = call.call.elements(0),
                                .x = call.operand(0),
                                .target = call.operand<const float>(1),
                                .validRows = call.operand<const std::int32_t>(2),
                                .loss = call.operand<float>(3),
                                .partials = static_cast<double *>(call.workspace)};
  if (auto ok = call.launchTyped(granules, blocksFor(catalogue::granules(arguments.elements)), arguments);
      !ok) {
    return ok;
  }
  return call.launch("mean_of_granules", kOneBlock, arguments);
}

Result<void> meanGrad(const Enqueue &call, const char *name) {
  const MeanGradArguments arguments{.elements = call.call.elements(0),
                                    .x = call.operand(0),
                                    .target = call.operand<const float>(1),
                                    .dx = call.operand(2),
                                    .lossScale = call.operand<const float>(3),
                                    .scale = call.call.reals[0]};
  return call.launchTyped(name, gridFor((arguments.elements + 3) / 4), arguments);
}

Result<void> countCorrect(const Enqueue &call) {
  const RowLaunch rows = rowsOf(call);
  const CountCorrectArguments arguments{.layout = rows.layout,
                                        .rowsPerSample = call.call.integers[0],
                                        .logits = call.operand(0),
                                        .labels = call.operand<const std::int32_t>(1),
                                        .validRows = call.operand<const std::int32_t>(2),
                                        .ofRows = static_cast<std::int32_t *>(call.workspace),
                                        .correct = call.operand<std::int64_t>(3)};
  if (auto ok = call.launchTyped("correct_rows", rows.grid, arguments); !ok) {
    return ok;
  }
  return call.launch("count_correct", kOneBlock, arguments);
}

Result<void> meanLoss(const Enqueue &call) {
  LossesArguments arguments{};
  arguments.width = call.call.elements(1);
  arguments.rows = call.call.elements(0) / arguments.width;
  arguments.losses = call.operand<const float>(0);
  arguments.means = call.operand<double>(1);
  return call.launch("mean_loss", gridFor(arguments.width, 32), arguments);
}

Result<void> appendLoss(const Enqueue &call) {
  LossesArguments arguments{};
  arguments.width = call.call.elements(0);
  arguments.losses = call.operand<const float>(0);
  arguments.term = call.operand<const float>(1);
  arguments.longer = call.operand<float>(2);
  arguments.weight = call.call.reals[0];
  return call.launch("append_loss", gridFor(arguments.width + 1, 32), arguments);
}

Result<void> noLoss(const Enqueue &call) {
  LossesArguments arguments{};
  arguments.longer = call.operand<float>(0);
  return call.launch("no_loss", gridFor(1, 32), arguments);
}

const CudaKernel kKernels[] = {
    {"softmax_cross_entropy", 1, crossEntropy},
    {"softmax_cross_entropy_grad", 1, [](const Enqueue &call) { return crossEntropyGrad(call, false); }},
    {"vocabulary_statistics", 1, vocabularyStatistics},
    {"vocabulary_cross_entropy", 1, vocabularyCrossEntropy},
    {"vocabulary_cross_entropy_grad", 1, [](const Enqueue &call) { return crossEntropyGrad(call, true); }},
    {"mse_loss", 1, [](const Enqueue &call) { return meanOf(call, "mse_granules"); }},
    {"mse_loss_grad", 1, [](const Enqueue &call) { return meanGrad(call, "mse_loss_grad"); }},
    {"bce_with_logits", 1, [](const Enqueue &call) { return meanOf(call, "bce_granules"); }},
    {"bce_with_logits_grad", 1, [](const Enqueue &call) { return meanGrad(call, "bce_with_logits_grad"); }},
    {"count_correct", 1, countCorrect},
    {"mean_loss", 1, meanLoss},
    {"append_loss", 1, appendLoss},
    {"no_loss", 1, noLoss},
};

} // namespace

Family lossFamily() {
  return kKernels;
}

} // namespace stagewright::cuda
