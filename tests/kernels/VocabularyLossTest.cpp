// Columns of logits and rows of tables in parts on ranks: together the parts give what the kernels of the
// whole give; special values; work in tiles.
#include "KernelCases.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <iterator>
#include <limits>
#include <random>

namespace stagewright::kernels {

namespace {

using catalogue::Attribute;
using catalogue::DType;
using catalogue::Shape;
using Contents = std::vector<double>;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(),
                 kInf = std::numeric_limits<double>::infinity();

class Vocabulary : public testing::TestWithParam<Isa> {
protected:
  Vocabulary() { setFlushToZero(); }
  std::vector<Buffer> run(const char *kernel, std::vector<Shape> shapes,
                          const std::vector<Contents> &contents, std::vector<Attribute> attributes = {},
                          DType element = DType::F32) {
    SerialTileRunner serial;
    const KernelCase one = caseOf(kernel, std::move(shapes), contents, std::move(attributes));
    return runCase(withElement(one, element), GetParam(), serial);
  }
  /// Loss, log_sum_exp and count as operands 3 to 5, of logits [rows, columns] on `ranks` ranks.
  std::vector<Buffer> loss(const Contents &logits, const Contents &labels, std::int64_t ranks,
                           std::vector<Attribute> attributes = {}, DType element = DType::F32);
  /// dlogits [rows, columns], each rank's columns computed by themselves.
  Contents gradient(const Contents &logits, const Contents &labels, std::int64_t ranks,
                    const Contents &logSumExp, const Contents &count, std::vector<Attribute> attributes = {},
                    DType element = DType::F32);
};

INSTANTIATE_TEST_SUITE_P(Every, Vocabulary, testing::ValuesIn(supportedIsas()),
                         [](const auto &info) { return std::string(name(info.param)); });

Contents columnsOf(const Contents &matrix, std::int64_t rows, std::int64_t ranks, std::int64_t rank) {
  const std::int64_t width = std::int64_t(matrix.size()) / rows, columns = width / ranks;
  Contents out;
  for (std::int64_t row = 0; row < rows; ++row)
    std::copy_n(matrix.begin() + row * width + rank * columns, columns, std::back_inserter(out));
  return out;
}

std::vector<Buffer> Vocabulary::loss(const Contents &logits, const Contents &labels, std::int64_t ranks,
                                     std::vector<Attribute> attributes, DType element) {
  const std::int64_t rows = std::int64_t(labels.size()), vocabulary = std::int64_t(logits.size()) / rows;
  Contents statistics;
  for (std::int64_t rank = 0; rank < ranks; ++rank)
    std::ranges::copy(run("vocabulary_statistics", {{rows, vocabulary / ranks}, {rows}, {1}, {rows, 3}},
                          {columnsOf(logits, rows, ranks, rank), labels, {double(rank)}}, {}, element)[3]
                          .values(),
                      std::back_inserter(statistics));
  attributes.push_back({"vocabulary", vocabulary});
  return run("vocabulary_cross_entropy", {{ranks, rows, 3}, {rows}, {1}, {1}, {rows}, {1}},
             {statistics, labels, {double(rows)}}, attributes);
}

Contents Vocabulary::gradient(const Contents &logits, const Contents &labels, std::int64_t ranks,
                              const Contents &logSumExp, const Contents &count,
                              std::vector<Attribute> attributes, DType element) {
  const std::int64_t rows = std::int64_t(labels.size()), vocabulary = std::int64_t(logits.size()) / rows;
  const std::int64_t columns = vocabulary / ranks;
  attributes.push_back({"vocabulary", vocabulary});
  Contents out(logits.size());
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const Buffer part =
        run("vocabulary_cross_entropy_grad", {{rows, columns}, {rows}, {1}, {rows}, {1}, {rows, columns}},
            {columnsOf(logits, rows, ranks, rank), labels, {double(rank)}, logSumExp, count}, attributes,
            element)[5];
    for (std::int64_t i = 0; i < rows * columns; ++i)
      out[std::size_t(i / columns * vocabulary + rank * columns + i % columns)] = part.at(i);
  }
  return out;
}

Contents numbers(std::int64_t count, double low, double high) {
  static std::mt19937_64 engine(11);
  Contents out;
  for (std::int64_t i = 0; i < count; ++i)
    out.push_back(std::uniform_real_distribution<double>(low, high)(engine));
  return out;
}

Contents integers(std::int64_t count, std::int64_t limit) {
  Contents out = numbers(count, 0, double(limit));
  for (double &value : out)
    value = std::floor(value);
  return out;
}

/// Loss and log_sum_exp within a few roundings of a float; gradients, given the same log_sum_exp, to the bit.
TEST_P(Vocabulary, AnyNumberOfRanksGivesTheLossOfTheWhole) {
  const std::int64_t rows = 40, vocabulary = 4 * 83;
  const Contents logits = numbers(rows * vocabulary, -5, 5), labels = integers(rows, vocabulary);
  const std::vector<std::vector<Attribute>> variants = {
      {}, {{"label_smoothing", 0.1}}, {{"ignore_index", std::int64_t(labels[3])}}};
  const Shape whole{rows, vocabulary};
  for (DType element : {DType::F32, DType::F16, DType::BF16})
    for (const std::vector<Attribute> &attributes : variants) {
      const std::vector<Buffer> wanted = run("softmax_cross_entropy", {whole, {rows}, {1}, {1}, {rows}, {1}},
                                             {logits, labels, {double(rows)}}, attributes, element);
      for (std::int64_t ranks : {1, 2, 4}) {
        const std::vector<Buffer> got = loss(logits, labels, ranks, attributes, element);
        EXPECT_NEAR(got[3].at(0), wanted[3].at(0), 1e-6) << ranks;
        EXPECT_EQ(got[5].at(0), wanted[5].at(0));
        for (std::int64_t row = 0; row < rows; ++row)
          ASSERT_NEAR(got[4].at(row), wanted[4].at(row), 2e-6) << ranks << " row " << row;
        const Contents sums = got[4].values(), count = got[5].values();
        const Buffer dlogits = run("softmax_cross_entropy_grad", {whole, {rows}, {rows}, {1}, whole},
                                   {logits, labels, sums, count}, attributes, element)[4];
        ASSERT_EQ(gradient(logits, labels, ranks, sums, count, attributes, element), dlogits.values())
            << ranks;
      }
    }
}

/// A part may be all -infinity (columns that only fill up the vocabulary); a whole row may not.
TEST_P(Vocabulary, RowsWithInfinitiesAndNaNs) {
  const Contents logits = {-kInf, -kInf, 1,    2, -kInf, -kInf, -kInf, -kInf, 1, 2,     3, kNaN, -kInf, kNaN,
                           1,     2,     kInf, 0, 0,     0,     1e30,  0,     0, -1e30, 0, 0,    0,     0};
  const Contents labels = {3, 0, 0, 2, 1, 0, 1};
  for (std::int64_t ranks : {1, 2, 4}) {
    const std::vector<Buffer> out = loss(logits, labels, ranks);
    EXPECT_NEAR(out[4].at(0), 2 + std::log1p(std::exp(-1.0)), 1e-6);
    for (int row : {1, 2, 3, 4})
      EXPECT_TRUE(std::isnan(out[4].at(row))) << ranks << " row " << row;
    EXPECT_EQ(float(out[4].at(5)), 1e30f);
    EXPECT_TRUE(std::isnan(out[3].at(0)));
    const std::vector<Buffer> first = loss(Contents(logits.begin(), logits.begin() + 4), {3}, ranks);
    EXPECT_NEAR(first[3].at(0), std::log1p(std::exp(-1.0)), 1e-6) << ranks;
    const Contents dlogits = gradient(logits, labels, ranks, out[4].values(), {7});
    EXPECT_EQ(dlogits[0], 0);
    EXPECT_NEAR(7 * dlogits[2], 1 / (1 + std::exp(1.0)), 1e-6);
    for (std::size_t i = 4; i < 8; ++i)
      EXPECT_TRUE(std::isnan(dlogits[i]));
  }
}

TEST_P(Vocabulary, ALabelThatIsNoColumnOfAnyRankGivesNaN) {
  const Contents logits = {1, 2, 3, 4, 5, 6, 7, 8};
  for (double label : {-1.0, 4.0, 2147483647.0, -2147483648.0})
    for (std::int64_t ranks : {1, 2, 4}) {
      const std::vector<Buffer> out = loss(logits, {0, label}, ranks);
      EXPECT_TRUE(std::isnan(out[3].at(0)));
      EXPECT_NEAR(out[4].at(1), 8.4401897, 1e-5);
      const Contents dlogits = gradient(logits, {0, label}, ranks, out[4].values(), {2});
      for (std::size_t i = 0; i < 8; ++i)
        EXPECT_EQ(std::isnan(dlogits[i]), i >= 4) << i;
    }
}

/// Not even with their NaNs; and when no row counts, loss and gradient are zero.
TEST_P(Vocabulary, IgnoredRowsDoNotCount) {
  const Contents logits = {3, 0, 0, kNaN};
  const std::vector<Buffer> one = loss(logits, {0, -100}, 2);
  EXPECT_NEAR(one[3].at(0), std::log1p(std::exp(-3.0)), 1e-6);
  EXPECT_EQ(one[5].at(0), 1);
  const Contents dlogits = gradient(logits, {0, -100}, 2, one[4].values(), one[5].values());
  EXPECT_NEAR(dlogits[1], 1 / (1 + std::exp(3.0)), 1e-6);
  EXPECT_EQ(dlogits[2], 0);
  EXPECT_EQ(dlogits[3], 0);
  const std::vector<Buffer> none = loss(logits, {-100, -100}, 2);
  EXPECT_EQ(none[3].at(0), 0);
  EXPECT_EQ(none[5].at(0), 0);
}

/// Of every id one rank has the row and the others have zeros; gradients are rows of the whole table's.
TEST_P(Vocabulary, RanksOfAnEmbeddingGiveTheWhole) {
  const std::int64_t tokens = 50, entries = 24, columns = 19;
  const Contents ids = integers(tokens, entries), table = numbers(entries * columns, -1, 1),
                 g = numbers(tokens * columns, -1, 1);
  const std::vector<Attribute> padding = {{"padding_idx", std::int64_t(ids[7])}};
  for (DType element : {DType::F32, DType::BF16}) {
    const Contents y =
        run("embedding", {{tokens}, {entries, columns}, {tokens, columns}}, {ids, table}, padding, element)[2]
            .values();
    const Contents acc = run("embedding_grad", {{tokens}, {tokens, columns}, {entries, columns}},
                             {ids, g, table}, padding, element)[2]
                             .values();
    for (std::int64_t ranks : {1, 2, 4}) {
      const std::int64_t rows = entries / ranks;
      Contents sum(y.size()), joined;
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        const Contents part(table.begin() + rank * rows * columns,
                            table.begin() + (rank + 1) * rows * columns);
        const Buffer own = run("embedding", {{tokens}, {rows, columns}, {tokens, columns}, {1}},
                               {ids, part, {}, {double(rank)}}, padding, element)[2];
        for (std::size_t i = 0; i < sum.size(); ++i)
          sum[i] += own.at(std::int64_t(i));
        std::ranges::copy(run("embedding_grad", {{tokens}, {tokens, columns}, {rows, columns}, {1}},
                              {ids, g, part, {double(rank)}}, padding, element)[2]
                              .values(),
                          std::back_inserter(joined));
      }
      ASSERT_EQ(sum, y) << ranks;
      ASSERT_EQ(joined, acc) << ranks;
    }
  }
}

TEST_P(Vocabulary, IdsOfOtherRanksGiveZerosAndNegativeOnesNaN) {
  const Contents ids = {2, 3, 1, 4, -1, 2147483647, -2147483648.0};
  const Buffer y = run("embedding", {{7}, {2, 3}, {7, 3}, {1}}, {ids, {1, 2, 3, 4, 5, 6}, {}, {1}})[2];
  const Contents rows = {1, 4, 0, 0, kNaN, 0, kNaN};
  for (std::int64_t i = 0; i < 21; ++i) {
    const double want = rows[std::size_t(i / 3)] + (i < 6 ? double(i % 3) : 0);
    EXPECT_TRUE(std::isnan(want) ? std::isnan(y.at(i)) : y.at(i) == want) << i;
  }
  const Buffer acc =
      run("embedding_grad", {{7}, {7, 1}, {2, 1}, {1}}, {ids, {1, 2, 4, 8, 16, 32, 64}, {}, {1}})[2];
  EXPECT_EQ(acc.values(), (Contents{1, 2}));
  // No such rank has a row; nothing overflows.
  for (double rank : {-1.0, 2147483647.0, -2147483648.0})
    EXPECT_EQ(
        run("embedding_grad", {{7}, {7, 1}, {2, 1}, {1}}, {ids, {1, 2, 4, 8, 16, 32, 64}, {}, {rank}})[2]
            .values(),
        (Contents{0, 0}));
}

TEST(VocabularyTiles, LargeCallsAreSpreadAndSmallOnesAreNot) {
  const auto tilesOf = [](const char *kernel, std::vector<Shape> shapes, std::vector<Attribute> attributes) {
    SerialTileRunner runner;
    runCase(caseOf(kernel, std::move(shapes), {}, std::move(attributes)), bestIsa(), runner);
    return runner.mostTiles;
  };
  const Attribute vocabulary{"vocabulary", std::int64_t(2000)};
  EXPECT_GE(tilesOf("vocabulary_statistics", {{128, 1000}, {128}, {1}, {128, 3}}, {}), 7);
  EXPECT_EQ(tilesOf("vocabulary_statistics", {{32, 1000}, {32}, {1}, {32, 3}}, {}), 1);
  EXPECT_GE(tilesOf("vocabulary_cross_entropy_grad", {{128, 1000}, {128}, {1}, {128}, {1}, {128, 1000}},
                    {vocabulary}),
            7);
  EXPECT_EQ(tilesOf("vocabulary_cross_entropy", {{2, 4096, 3}, {4096}, {1}, {1}, {4096}, {1}}, {vocabulary}),
            1);
}

} // namespace

} // namespace stagewright::kernels
