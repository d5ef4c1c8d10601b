// Family loss: losses, their gradients, and what evaluation counts.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

namespace {

Result<void> checkSmoothing(std::string_view kernel, std::span<const Attribute> attributes) {
  const double smoothing = floatAttribute(*find(kernel, 1), attributes, "label_smoothing");
  if (smoothing < 0 || smoothing > 1)
    return userError("kernel " + std::string(kernel), "label_smoothing is not between 0 and 1");
  return {};
}

Result<void> checkRowsPerSample(std::string_view kernel, std::span<const Attribute> attributes) {
  if (integerAttribute(*find(kernel, 1), attributes, "rows_per_sample") < 1)
    return userError("kernel " + std::string(kernel), "rows_per_sample is not at least 1");
  return {};
}

Result<void> checkCrossEntropy(std::span<const Shape>, std::span<const Attribute> attributes) {
  if (auto ok = checkRowsPerSample("softmax_cross_entropy", attributes); !ok)
    return ok;
  return checkSmoothing("softmax_cross_entropy", attributes);
}

Result<void> checkCountCorrect(std::span<const Shape>, std::span<const Attribute> attributes) {
  return checkRowsPerSample("count_correct", attributes);
}

Result<void> checkCrossEntropyGrad(std::span<const Shape>, std::span<const Attribute> attributes) {
  return checkSmoothing("softmax_cross_entropy_grad", attributes);
}

/// The columns of all ranks are `parts` times as many as those of one.
Result<void> checkVocabulary(std::string_view kernel, std::int64_t parts, const char *of,
                             std::span<const Attribute> attributes) {
  const std::int64_t vocabulary = integerAttribute(*find(kernel, 1), attributes, "vocabulary");
  if (vocabulary < 1 || vocabulary % parts != 0)
    return userError("kernel " + std::string(kernel),
                     "vocabulary is " + std::to_string(vocabulary) + ", not a multiple of the " +
                         std::to_string(parts) + " " + of,
                     "give the columns of all ranks together");
  return checkSmoothing(kernel, attributes);
}

Result<void> checkVocabularyCrossEntropy(std::span<const Shape> shapes,
                                         std::span<const Attribute> attributes) {
  constexpr std::string_view kName = "vocabulary_cross_entropy";
  if (auto ok = checkRowsPerSample(kName, attributes); !ok)
    return ok;
  return checkVocabulary(kName, shapes[0][0], "ranks", attributes);
}

Result<void> checkVocabularyCrossEntropyGrad(std::span<const Shape> shapes,
                                             std::span<const Attribute> attributes) {
  return checkVocabulary("vocabulary_cross_entropy_grad", shapes[0][1], "columns of a rank", attributes);
}

/// Workspace: four bytes for each label, the second operand.
std::size_t labelResults(std::span<const Shape> shapes, std::string_view target) {
  return shapes.size() < 2 ? 0 : rowResults(shapes.subspan(1), target);
}

Result<void> checkAppendLoss(std::span<const Shape> shapes, std::span<const Attribute>) {
  if (shapes[2][0] != shapes[0][0] + 1)
    return userError("kernel append_loss", "the result has " + std::to_string(shapes[2][0]) +
                                               " elements, not one more than " +
                                               std::to_string(shapes[0][0]));
  return {};
}

Result<void> checkMeanLoss(std::span<const Shape> shapes, std::span<const Attribute>) {
  if (shapes[0][0] % shapes[1][0] != 0)
    return userError("kernel mean_loss",
                     std::to_string(shapes[0][0]) + " losses are no rows of " + std::to_string(shapes[1][0]));
  return {};
}

} // namespace

std::vector<Kernel> lossKernels() {
  const AttributeRule scale{"scale", 1.0}, smoothing{"label_smoothing", 0.0};
  const AttributeRule ignoreIndex{"ignore_index", std::int64_t(-100)};
  const AttributeRule rowsPerSample{"rows_per_sample", std::int64_t(1)};
  const AttributeRule vocabulary{"vocabulary", std::int64_t(0)};
  return {
      // Losses are means over the first `valid_rows` samples; 0 of them give 0. log_sum_exp has all rows.
      // A sample has rows_per_sample rows (tokens). Rows whose label is ignore_index do not count; `count` is
      // how many do, and the gradient is that of the mean over them, times scale. Gradients are also
      // multiplied
      // by loss_scale where it is there, before they are rounded.
      entry<"softmax_cross_entropy", "logits T[M,C] R, labels i32[M] R, valid_rows i32[1] R, loss f32[1] W, "
                                     "log_sum_exp f32[M] W, count f32[1] W">(
          {ignoreIndex, smoothing, rowsPerSample}, {}, rowResults, checkCrossEntropy),
      entry<"softmax_cross_entropy_grad", "logits T[M,C] R, labels i32[M] R, log_sum_exp f32[M] R, "
                                          "count f32[1] R, dlogits T[M,C] W, loss_scale f32[1] R?">(
          {scale, ignoreIndex, smoothing}, {{0, 4}}, nullptr, checkCrossEntropyGrad),
      // The same loss with the columns of the logits in equal parts on P ranks (arXiv:1909.08053, section 3):
      // each has columns [tensor_rank C, (tensor_rank + 1) C) of the vocabulary, over all of which labels
      // count. Statistics of a row: log-sum-exp of the part (-infinity where all of it is), the label's logit
      // where the label is in the part, else 0, and the sum of the part's logits.
      entry<"vocabulary_statistics",
            "logits T[M,C] R, labels i32[M] R, tensor_rank i32[1] R, statistics f32[M,3] W">(),
      // From the statistics of all ranks in their order. vocabulary: the columns of all ranks.
      entry<"vocabulary_cross_entropy", "statistics f32[P,M,3] R, labels i32[M] R, valid_rows i32[1] R, "
                                        "loss f32[1] W, log_sum_exp f32[M] W, count f32[1] W">(
          {ignoreIndex, smoothing, rowsPerSample, vocabulary}, {}, labelResults, checkVocabularyCrossEntropy),
      // This part's columns of what softmax_cross_entropy_grad gives, to the bit.
      entry<"vocabulary_cross_entropy_grad",
            "logits T[M,C] R, labels i32[M] R, tensor_rank i32[1] R, log_sum_exp f32[M] R, count f32[1] R, "
            "dlogits T[M,C] W, loss_scale f32[1] R?">({scale, ignoreIndex, smoothing, vocabulary}, {{0, 5}},
                                                      nullptr, checkVocabularyCrossEntropyGrad),
      entry<"mse_loss", "x T[M,X...] R, target f32[M,X...] R, valid_rows i32[1] R, loss f32[1] W">(
          {}, {}, granuleResults),
      entry<"mse_loss_grad", "x T[M,X...] R, target f32[M,X...] R, dx T[M,X...] W, "
                             "loss_scale f32[1] R?">({scale}),
      entry<"bce_with_logits", "x T[M,X...] R, target f32[M,X...] R, valid_rows i32[1] R, loss f32[1] W">(
          {}, {}, granuleResults),
      entry<"bce_with_logits_grad", "x T[M,X...] R, target f32[M,X...] R, dx T[M,X...] W, "
                                    "loss_scale f32[1] R?">({scale}),
      entry<"count_correct", "logits T[M,C] R, labels i32[M] R, valid_rows i32[1] R, correct i64[1] W">(
          {rowsPerSample}, {}, rowResults, checkCountCorrect),
      // The losses of a micro-batch are [total, first term, second term, ...]: a term joins them by
      // total + weight * term.
      entry<"append_loss", "losses f32[A] R, term f32[1] R, longer f32[B] W">({{"weight", 1.0}}, {}, nullptr,
                                                                              checkAppendLoss),
      // Means over the micro-batches, whose losses follow each other in rows of W.
      entry<"mean_loss", "losses f32[N] R, mean f64[W] W">({}, {}, nullptr, checkMeanLoss),
      // The loss of a model without a loss, and a total before its first term: 0.
      entry<"no_loss", "loss f32[1] W">(),
  };
}

} // namespace stagewright::catalogue
