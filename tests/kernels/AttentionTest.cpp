// Attention at its edges: nothing to see, infinities, shapes that do not fit, samples one by one.
#include "KernelCases.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace stagewright::kernels {

namespace {

using catalogue::Shape;

constexpr double kInf = std::numeric_limits<double>::infinity();

KernelCase caseOf(const char *kernel, std::vector<Shape> shapes, double value,
                  std::vector<catalogue::Attribute> attributes = {}) {
  KernelCase out{{catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, {}, 0, 0};
  for (std::size_t i = 0; i < out.instance.shapes.size(); ++i) {
    const auto &rule = out.instance.kernel->operands[i];
    out.operands.emplace_back(rule.dtype, catalogue::elements(out.instance.shapes[i]));
    for (std::int64_t k = 0; rule.access == catalogue::Access::Read && k < out.operands[i].elements; ++k)
      out.operands[i].set(k, rule.dtype == catalogue::DType::I32 ? 1 : value);
  }
  return out;
}

class AttentionTest : public testing::TestWithParam<Isa> {
protected:
  AttentionTest() { setFlushToZero(); }
  std::vector<Buffer> run(const KernelCase &one) { return runCase(one, GetParam(), serial); }
  SerialTileRunner serial;
};

INSTANTIATE_TEST_SUITE_P(Every, AttentionTest, testing::ValuesIn(supportedIsas()),
                         [](const auto &info) { return std::string(name(info.param)); });

/// Causal, and the first 200 of 300 keys are hidden: the first 200 queries see nothing.
TEST_P(AttentionTest, AQueryThatSeesNothingGivesZero) {
  const Shape q{1, 300, 2, 20}, sums{1, 2, 300}, mask{1, 300};
  KernelCase one = caseOf("attention", {q, q, q, q, sums, mask}, 0.5, {{"causal", std::int64_t(1)}});
  for (std::int64_t i = 0; i < 200; ++i)
    one.operands[5].set(i, 0);
  const std::vector<Buffer> results = run(one);
  for (std::int64_t i = 0; i < results[3].elements; ++i)
    ASSERT_NEAR(results[3].at(i), i / 40 < 200 ? 0 : 0.5, 1e-6) << i;
  for (std::int64_t i = 0; i < 600; ++i)
    ASSERT_EQ(std::isinf(results[4].at(i)), i % 300 < 200) << i;

  KernelCase grad =
      caseOf("attention_grad", {q, q, q, q, q, sums, q, q, q, mask}, 0.5, {{"causal", std::int64_t(1)}});
  grad.operands[4] = results[3];
  grad.operands[5] = results[4];
  grad.operands[9] = one.operands[5];
  const std::vector<Buffer> gradients = run(grad);
  double dv = 0;
  for (std::int64_t i = 0; i < 12000; ++i) {
    ASSERT_NEAR(gradients[6].at(i), 0, 1e-6); // all keys are the same
    dv += gradients[8].at(i);
    if (i / 40 < 200) {
      ASSERT_EQ(gradients[7].at(i), 0);
      ASSERT_EQ(gradients[8].at(i), 0);
    }
  }
  EXPECT_NEAR(dv, 100 * 40 * 0.5, 1e-3); // the probabilities of 100 queries add to one each
}

/// Zero times infinity is not zero: which queries of a causal call meet a key that they do not see is a
/// matter of shape (groups of 32), the same on every instruction set.
TEST_P(AttentionTest, AnInfiniteValueReachesNoEarlierGroupOfQueries) {
  const Shape q{1, 300, 1, 20}, sums{1, 1, 300};
  KernelCase one = caseOf("attention", {q, q, q, q, sums}, 0.5, {{"causal", std::int64_t(1)}});
  one.operands[2].set(290 * 20 + 3, kInf);
  const Buffer y = run(one)[3];
  for (std::int64_t i = 0; i < y.elements; ++i)
    ASSERT_EQ(std::isfinite(y.at(i)), i / 20 < 288 || i % 20 != 3) << i;
}

TEST_P(AttentionTest, LargeScoresKeepTheirDigits) {
  const Shape q{1, 1, 1, 1}, k{1, 200, 1, 1};
  KernelCase one = caseOf("attention", {q, k, k, q, {1, 1, 1}}, 1);
  one.operands[0].set(0, 100);
  for (std::int64_t i = 0; i < 200; ++i) {
    one.operands[1].set(i, double(i)); // scores up to 19900: the maximum moves at every block
    one.operands[2].set(i, double(i));
  }
  const std::vector<Buffer> results = run(one);
  EXPECT_EQ(results[3].at(0), 199);
  EXPECT_EQ(results[4].at(0), 19900);
}

/// Every query looks at one key alone, by scores of hundreds, where values are large: what is left of the
/// gradients of queries and keys must not be the rounding of g v^T (of up to 0.004 here) times a key.
TEST_P(AttentionTest, OneKeyAloneHasNoGradientOfItsScores) {
  const Shape q{1, 3, 2, 2}, k{1, 3, 1, 2}, sums{1, 2, 3};
  const std::vector<double> queries = {-15.92, 31.25,  29.95, -71.66, -18.03, 37.94,
                                       33.60,  -82.48, -13.0, 27.48,  24.59,  -60.44},
                            keys = {13.87, 19.59, 15.22, 22.74, 11.07, 16.95},
                            values = {21606.3, 21710.9, 25303.5, 26161.0, 19320.6, 18105.3},
                            slopes = {0.0464, -0.0281, 0.5877, -0.3278, 0.2756,  0.4926,
                                      0.3785, 0.6089,  -0.049, 0.2193,  -0.0054, 0.1535};
  KernelCase one = caseOf("attention", {q, k, k, q, sums}, 0, {{"scale", 0.3}});
  KernelCase grad = caseOf("attention_grad", {q, q, k, k, q, sums, q, k, k}, 0, {{"scale", 0.3}});
  const auto fill = [](Buffer &to, const std::vector<double> &from) {
    for (std::size_t i = 0; i < from.size(); ++i)
      to.set(std::int64_t(i), from[i]);
  };
  fill(one.operands[0], queries);
  fill(one.operands[1], keys);
  fill(one.operands[2], values);
  const std::vector<Buffer> results = run(one);
  for (std::size_t i = 0; i < 3; ++i)
    grad.operands[i + 1] = one.operands[i];
  fill(grad.operands[0], slopes);
  grad.operands[4] = results[3];
  grad.operands[5] = results[4];
  const std::vector<Buffer> gradients = run(grad);
  for (int operand : {6, 7})
    for (std::int64_t i = 0; i < gradients[std::size_t(operand)].elements; ++i)
      EXPECT_NEAR(gradients[std::size_t(operand)].at(i), 0, 1e-4) << operand << " " << i;
}

/// A sample has the same bits alone and among others.
TEST_P(AttentionTest, SamplesDoNotDependOnTheirNeighbours) {
  for (const KernelCase &whole : casesOf("attention")) {
    const std::int64_t batch = whole.instance.shapes[0][0];
    if (batch == 1)
      continue;
    KernelCase one{whole.instance, {}, 0, 0};
    for (std::size_t i = 0; i < whole.operands.size(); ++i) {
      const std::int64_t size = whole.operands[i].elements / batch;
      one.instance.shapes[i][0] = 1;
      one.operands.emplace_back(whole.operands[i].dtype, size);
      for (std::int64_t k = 0; k < size; ++k)
        one.operands[i].set(k, whole.operands[i].at((batch - 1) * size + k));
    }
    const std::vector<Buffer> alone = run(one), all = run(whole);
    for (std::int64_t k = 0; k < alone[3].elements; ++k)
      ASSERT_EQ(alone[3].at(k), all[3].at((batch - 1) * alone[3].elements + k)) << whole.text();
  }
}

TEST(Attention, RefusesShapesThatDoNotFit) {
  const auto error = [](std::vector<Shape> shapes, std::vector<catalogue::Attribute> attributes = {},
                        const char *kernel = "attention") {
    const auto prepared =
        prepare({catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, bestIsa());
    return prepared ? std::string() : prepared.error().what;
  };
  const catalogue::Attribute causal{"causal", std::int64_t(1)};
  const Shape q{1, 2, 4, 8}, k{1, 3, 2, 8}, sums{1, 4, 2};
  EXPECT_EQ(error({q, k, k, q, sums}), "");
  EXPECT_EQ(error({q, k, k, q, sums}, {causal}),
            "causal attention of 2 queries to 3 keys: the numbers must be the same");
  EXPECT_EQ(error({q, {1, 3, 3, 8}, {1, 3, 3, 8}, q, sums}),
            "4 heads of queries do not share 3 heads of keys evenly");
  EXPECT_EQ(error({q, {1, 3, 8, 8}, {1, 3, 8, 8}, q, sums}),
            "4 heads of queries do not share 8 heads of keys evenly");
  EXPECT_EQ(error({{1, 2, 1, 513}, {1, 2, 1, 513}, {1, 2, 1, 513}, {1, 2, 1, 513}, {1, 1, 2}}),
            "heads of 513 elements are larger than 512");
  EXPECT_EQ(error({q, k, k, q, sums}, {{"scale", -1.0}}), "scale -1.000000 is not a positive number");
  EXPECT_EQ(error({q, q, k, k, q, sums, q, k, k}, {causal}, "attention_grad"),
            "causal attention of 2 queries to 3 keys: the numbers must be the same");
  EXPECT_EQ(error({q, k, k, q, sums, {4}}, {{"p", 2.0}}, "attention_dropout"),
            "p = 2.000000 is not in [0, 1]");
  EXPECT_EQ(error({q, k, k, q, sums, {4}}, {{"block", std::int64_t(-1)}}, "attention_dropout"),
            "block -1 is not in [0, 65535]");
  const std::int64_t many = std::int64_t(1) << 20;
  const Shape wide{1, many, 1, 1};
  EXPECT_EQ(error({wide, wide, wide, wide, {1, 1, many}, {4}}, {}, "attention_dropout"),
            "there are more than 2^34 scores");
  const Shape huge{1, many << 10, 1, 1};
  EXPECT_EQ(error({huge, huge, huge, huge, {1, 1, many << 10}}), "there are more than 2^48 scores");
}

TEST(Attention, LargeCallsAreSpreadAndSmallOnesAreNot) {
  const auto tilesOf = [](const char *kernel, std::vector<Shape> shapes) {
    SerialTileRunner runner;
    runCase(caseOf(kernel, std::move(shapes), 1), bestIsa(), runner);
    return runner.mostTiles;
  };
  const Shape q{2, 200, 4, 16}, k{2, 200, 2, 16}, sums{2, 4, 200}, one{1, 4, 1, 16}, few{1, 1, 4};
  EXPECT_EQ(tilesOf("attention", {q, k, k, q, sums}), 16);
  EXPECT_EQ(tilesOf("attention_grad", {q, q, k, k, q, sums, q, k, k}), 4);
  EXPECT_EQ(tilesOf("attention", {one, one, one, one, few}), 1);
}

} // namespace

} // namespace stagewright::kernels
