#include "FiniteDifferences.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <iterator>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"softmax_cross_entropy_grad", "vocabulary_cross_entropy_grad",
                                 "mse_loss_grad", "bce_with_logits_grad"});

TEST(Gradient, SoftmaxCrossEntropy) {
  const std::int64_t rows = 6, columns = 5;
  const Shape logits{rows, columns}, labels{rows};
  const Vector x = randomVector(rows * columns, -2, 2), label = {0, 4, 2, 2, 1, 3};
  for (const std::vector<Attribute> &attributes :
       {std::vector<Attribute>{}, {{"label_smoothing", 0.2}, {"ignore_index", std::int64_t(2)}}})
    for (std::int64_t rowsPerSample : {1, 2}) {
      const auto run = [&](const Vector &at) {
        std::vector<Attribute> forward = attributes;
        forward.push_back({"rows_per_sample", rowsPerSample});
        return call("softmax_cross_entropy", {logits, labels, {1}, {1}, labels, {1}},
                    {at, label, {double(rows / rowsPerSample)}, {}, {}, {}}, forward);
      };
      const ReferenceOperands forward = run(x);
      std::vector<Attribute> backward = attributes;
      backward.push_back({"scale", 0.5});
      const Vector dx = call("softmax_cross_entropy_grad", {logits, labels, labels, {1}, logits, {1}},
                             {x, label, forward[4], forward[5], {}, {4}}, backward)[4];
      expectGradient(dx, x, [&](const Vector &at) { return 2 * run(at)[3][0]; });
    }
}

/// Columns [rank C, (rank + 1) C) of logits with `ranks` C columns.
Vector columnsOf(const Vector &logits, std::int64_t rows, std::int64_t ranks, std::int64_t rank) {
  const std::int64_t all = std::int64_t(logits.size()) / rows, columns = all / ranks;
  Vector out;
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t column = 0; column < columns; ++column)
      out.push_back(logits[std::size_t(row * all + rank * columns + column)]);
  return out;
}

/// Through the statistics of three ranks and back to the columns of each.
TEST(Gradient, VocabularyCrossEntropy) {
  const std::int64_t rows = 6, ranks = 3, columns = 2;
  const Shape part{rows, columns}, labels{rows};
  const Vector x = randomVector(rows * ranks * columns, -2, 2), label = {0, 4, 2, 5, 1, 3};
  for (const std::vector<Attribute> &changes :
       {std::vector<Attribute>{}, {{"label_smoothing", 0.2}, {"ignore_index", std::int64_t(2)}}})
    for (std::int64_t rowsPerSample : {1, 2}) {
      std::vector<Attribute> attributes = changes;
      attributes.push_back({"vocabulary", ranks * columns});
      const auto run = [&](const Vector &at) {
        Vector statistics;
        for (std::int64_t rank = 0; rank < ranks; ++rank)
          std::ranges::copy(call("vocabulary_statistics", {part, labels, {1}, {rows, 3}},
                                 {columnsOf(at, rows, ranks, rank), label, {double(rank)}, {}})[3],
                            std::back_inserter(statistics));
        std::vector<Attribute> forward = attributes;
        forward.push_back({"rows_per_sample", rowsPerSample});
        return call("vocabulary_cross_entropy", {{ranks, rows, 3}, labels, {1}, {1}, labels, {1}},
                    {statistics, label, {double(rows / rowsPerSample)}, {}, {}, {}}, forward);
      };
      const ReferenceOperands forward = run(x);
      std::vector<Attribute> backward = attributes;
      backward.push_back({"scale", 0.5});
      Vector dx(x.size());
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        const Vector columnsOfRank =
            call("vocabulary_cross_entropy_grad", {part, labels, {1}, labels, {1}, part, {1}},
                 {columnsOf(x, rows, ranks, rank), label, {double(rank)}, forward[4], forward[5], {}, {4}},
                 backward)[5];
        for (std::int64_t i = 0; i < rows * columns; ++i)
          dx[std::size_t((i / columns * ranks + rank) * columns + i % columns)] =
              columnsOfRank[std::size_t(i)];
      }
      expectGradient(dx, x, [&](const Vector &at) { return 2 * run(at)[3][0]; });
    }
}

TEST(Gradient, BinaryCrossEntropy) {
  const Shape shape{4, 3};
  const Vector x = randomVector(12, -3, 3), target = randomVector(12, 0, 1);
  const Vector dx = call("bce_with_logits_grad", {shape, shape, shape, {1}}, {x, target, {}, {4}},
                         {{"scale", 1.0 / 12}})[2];
  expectGradient(dx, x, [&](const Vector &at) {
    return 4 * call("bce_with_logits", {shape, shape, {1}, {1}}, {at, target, {4}, {}})[3][0];
  });
}

TEST(Gradient, MeanSquaredError) {
  const Shape shape{4, 3};
  const Vector x = randomVector(12), target = randomVector(12);
  const Vector dx =
      call("mse_loss_grad", {shape, shape, shape, {1}}, {x, target, {}, {4}}, {{"scale", 2.0 / 12}})[2];
  expectGradient(dx, x, [&](const Vector &at) {
    return 4 * call("mse_loss", {shape, shape, {1}, {1}}, {at, target, {4}, {}})[3][0];
  });
}

} // namespace

} // namespace stagewright::kernels
