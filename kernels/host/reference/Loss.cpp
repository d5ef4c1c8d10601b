// Family loss.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace stagewright::kernels {

namespace {

/// log(sum of exp) of row `row` of the first operand.
double logSumExp(const Values &v, std::int64_t row) {
  const std::int64_t columns = v.size(0, 1);
  const auto begin = v[0].begin() + row * columns, end = begin + columns;
  const double most = *std::max_element(begin, end);
  double sum = 0;
  for (auto x = begin; x != end; ++x)
    sum += std::exp(*x - most);
  return most + std::log(sum);
}

std::size_t labelIndex(const Values &v, std::int64_t row) {
  return std::size_t(row * v.size(0, 1) + std::int64_t(v[1][std::size_t(row)]));
}

/// Rows that count: those of the valid samples whose label is not ignored.
bool counts(const Values &v, std::int64_t row) {
  return row < std::int64_t(v.scalar(2)) * v.integer("rows_per_sample") &&
         std::int64_t(v[1][std::size_t(row)]) != v.integer("ignore_index");
}

/// torch.nn.functional.cross_entropy: the target is (1 - smoothing) onehot(label) + smoothing / columns.
void softmaxCrossEntropy(const Values &v) {
  const std::int64_t columns = v.size(0, 1);
  const double smoothing = v.real("label_smoothing");
  double sum = 0, count = 0;
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const double logSum = v[4][std::size_t(row)] = logSumExp(v, row);
    if (!counts(v, row))
      continue;
    const auto begin = v[0].begin() + row * columns;
    sum += logSum - (1 - smoothing) * v[0][labelIndex(v, row)] -
           smoothing * std::reduce(begin, begin + columns) / double(columns);
    ++count;
  }
  v[3][0] = count > 0 ? sum / count : 0;
  v[5][0] = count;
}

/// `lossScale`: the optional operand's index.
double gradientScale(const Values &v, std::size_t lossScale) {
  return v.real("scale") * (v.has(lossScale) ? v.scalar(lossScale) : 1);
}

void softmaxCrossEntropyGrad(const Values &v) {
  const std::int64_t columns = v.size(0, 1);
  const double smoothing = v.real("label_smoothing");
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    const std::size_t row = i / std::size_t(columns);
    const bool isLabel = labelIndex(v, std::int64_t(row)) == i;
    const double target = (isLabel ? 1 - smoothing : 0) + smoothing / double(columns);
    const bool ignored = std::int64_t(v[1][row]) == v.integer("ignore_index") || v.scalar(3) == 0;
    v[4][i] = ignored ? 0 : (std::exp(v[0][i] - v[2][row]) - target) * gradientScale(v, 5) / v.scalar(3);
  }
}

void vocabularyStatistics(const Values &v) {
  const std::int64_t columns = v.size(0, 1), first = std::int64_t(v.scalar(2)) * columns;
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const auto begin = v[0].begin() + row * columns;
    const std::int64_t label = std::int64_t(v[1][std::size_t(row)]) - first;
    const auto to = v[3].begin() + row * 3;
    to[0] = logSumExp(v, row);
    to[1] = label >= 0 && label < columns ? begin[label] : 0;
    to[2] = std::reduce(begin, begin + columns);
  }
}

void vocabularyCrossEntropy(const Values &v) {
  const std::int64_t ranks = v.size(0, 0), rows = v.size(0, 1);
  const double smoothing = v.real("label_smoothing");
  double loss = 0, count = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    double exponentials = 0, logit = 0, sum = 0;
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      const auto of = v[0].begin() + (rank * rows + row) * 3;
      exponentials += std::exp(of[0]);
      logit += of[1];
      sum += of[2];
    }
    const double logSum = v[4][std::size_t(row)] = std::log(exponentials);
    if (!counts(v, row))
      continue;
    loss += logSum - (1 - smoothing) * logit - smoothing * sum / double(v.integer("vocabulary"));
    ++count;
  }
  v[3][0] = count > 0 ? loss / count : 0;
  v[5][0] = count;
}

void vocabularyCrossEntropyGrad(const Values &v) {
  const std::int64_t columns = v.size(0, 1), first = std::int64_t(v.scalar(2)) * columns;
  const double smoothing = v.real("label_smoothing");
  for (std::int64_t i = 0; i < v.size(0, 0) * columns; ++i) {
    const std::size_t row = std::size_t(i / columns), at = std::size_t(i);
    const std::int64_t label = std::int64_t(v[1][row]);
    const double target =
        (label == first + i % columns ? 1 - smoothing : 0) + smoothing / double(v.integer("vocabulary"));
    const bool ignored = label == v.integer("ignore_index") || v.scalar(4) == 0;
    v[5][at] = ignored ? 0 : (std::exp(v[0][at] - v[3][row]) - target) * gradientScale(v, 6) / v.scalar(4);
  }
}

void bceWithLogits(const Values &v) {
  const std::size_t valid = std::size_t(v.scalar(2)) * (v[0].size() / std::size_t(v.size(0, 0)));
  double sum = 0;
  for (std::size_t i = 0; i < valid; ++i)
    sum += (1 - v[1][i]) * v[0][i] + std::max(-v[0][i], 0.0) + std::log1p(std::exp(-std::abs(v[0][i])));
  v[3][0] = valid ? sum / double(valid) : 0;
}

void mseLoss(const Values &v) {
  const std::size_t valid = std::size_t(v.scalar(2)) * (v[0].size() / std::size_t(v.size(0, 0)));
  double sum = 0;
  for (std::size_t i = 0; i < valid; ++i)
    sum += (v[0][i] - v[1][i]) * (v[0][i] - v[1][i]);
  v[3][0] = valid ? sum / double(valid) : 0;
}

void countCorrect(const Values &v) {
  v[3][0] = 0;
  const std::int64_t valid = std::int64_t(v.scalar(2)) * v.integer("rows_per_sample");
  for (std::int64_t row = 0; row < std::min(valid, v.size(0, 0)); ++row) {
    const auto begin = v[0].begin() + row * v.size(0, 1), top = std::max_element(begin, begin + v.size(0, 1));
    v[3][0] += top - begin == std::int64_t(v[1][std::size_t(row)]);
  }
}

void appendLoss(const Values &v) {
  std::copy(v[0].begin(), v[0].end(), v[2].begin());
  v[2].back() = v.scalar(1);
  v[2].front() += v.real("weight") * v.scalar(1);
}

void meanLoss(const Values &v) {
  const std::size_t width = v[1].size(), rows = v[0].size() / width;
  std::fill(v[1].begin(), v[1].end(), 0.0);
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][i % width] += v[0][i] / double(rows);
}

constexpr ReferenceEntry kEntries[] = {
    {"softmax_cross_entropy", softmaxCrossEntropy},
    {"softmax_cross_entropy_grad", softmaxCrossEntropyGrad},
    {"vocabulary_statistics", vocabularyStatistics},
    {"vocabulary_cross_entropy", vocabularyCrossEntropy},
    {"vocabulary_cross_entropy_grad", vocabularyCrossEntropyGrad},
    {"mse_loss", mseLoss},
    {"mse_loss_grad",
     [](const Values &v) {
       for (std::size_t i = 0; i < v[2].size(); ++i)
         v[2][i] = (v[0][i] - v[1][i]) * gradientScale(v, 3);
     }},
    {"bce_with_logits", bceWithLogits},
    {"bce_with_logits_grad",
     [](const Values &v) {
       for (std::size_t i = 0; i < v[2].size(); ++i)
         v[2][i] = (1 / (1 + std::exp(-v[0][i])) - v[1][i]) * gradientScale(v, 3);
     }},
    {"count_correct", countCorrect},
    {"append_loss", appendLoss},
    {"mean_loss", meanLoss},
    {"no_loss", [](const Values &v) { v[0][0] = 0; }},
};

} // namespace

ReferenceTable lossReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
