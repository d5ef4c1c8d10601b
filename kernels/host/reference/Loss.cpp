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

void softmaxCrossEntropy(const Values &v) {
  const std::int64_t valid = std::int64_t(v.scalar(2));
  double sum = 0;
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    v[4][std::size_t(row)] = logSumExp(v, row);
    if (row < valid)
      sum += v[4][std::size_t(row)] - v[0][labelIndex(v, row)];
  }
  v[3][0] = valid ? sum / double(valid) : 0;
}

void softmaxCrossEntropyGrad(const Values &v) {
  const std::int64_t columns = v.size(0, 1);
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[3][i] = std::exp(v[0][i] - v[2][i / std::size_t(columns)]) * v.real("scale");
  for (std::int64_t row = 0; row < v.size(0, 0); ++row)
    v[3][labelIndex(v, row)] -= v.real("scale");
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
  for (std::int64_t row = 0; row < std::int64_t(v.scalar(2)); ++row) {
    const auto begin = v[0].begin() + row * v.size(0, 1), top = std::max_element(begin, begin + v.size(0, 1));
    v[3][0] += top - begin == std::int64_t(v[1][std::size_t(row)]);
  }
}

void meanLoss(const Values &v) {
  v[1][0] = std::reduce(v[0].begin(), v[0].end()) / double(v[0].size());
}

constexpr ReferenceEntry kEntries[] = {
    {"softmax_cross_entropy", softmaxCrossEntropy},
    {"softmax_cross_entropy_grad", softmaxCrossEntropyGrad},
    {"mse_loss", mseLoss},
    {"mse_loss_grad",
     [](const Values &v) {
       map(v, [&](double x, double target) { return (x - target) * v.real("scale"); });
     }},
    {"bce_with_logits", bceWithLogits},
    {"bce_with_logits_grad",
     [](const Values &v) {
       map(v, [&](double x, double target) { return (1 / (1 + std::exp(-x)) - target) * v.real("scale"); });
     }},
    {"count_correct", countCorrect},
    {"mean_loss", meanLoss},
};

} // namespace

ReferenceTable lossReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
