// NaNs, infinities, subnormal numbers, labels that are no columns, and counts that are too large.
#include "KernelCases.h"

#include <bit>
#include <cfenv>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <thread>

namespace stagewright::kernels {

namespace {

using catalogue::DType;
using catalogue::Shape;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

class SpecialValues : public testing::TestWithParam<Isa> {
protected:
  SpecialValues() { setFlushToZero(); }
  std::vector<Buffer> run(const KernelCase &one) { return runCase(one, GetParam(), serial); }
  SerialTileRunner serial;
};

INSTANTIATE_TEST_SUITE_P(Every, SpecialValues, testing::ValuesIn(supportedIsas()),
                         [](const auto &info) { return std::string(name(info.param)); });

TEST_P(SpecialValues, NaNsAndInfinitiesPassThroughActivations) {
  const std::vector<double> x = {kNaN, kInf, -kInf, 0, -1};
  const Shape shape{5};
  const auto relu = run(caseOf("relu", {shape, shape}, {x}))[1];
  EXPECT_TRUE(std::isnan(relu.at(0)));
  EXPECT_EQ(relu.at(1), kInf);
  EXPECT_EQ(relu.at(2), 0);
  const auto reluGrad = run(caseOf("relu_grad", {shape, shape, shape}, {{1, 2, 3, 4, 5}, x}))[2];
  EXPECT_EQ(reluGrad.values(),
            (std::vector<double>{1, 2, 0, 0, 0})); // torch: a NaN result passes the gradient
  const auto tanh = run(caseOf("tanh", {shape, shape}, {x}))[1];
  EXPECT_TRUE(std::isnan(tanh.at(0)));
  EXPECT_EQ(tanh.at(1), 1);
  EXPECT_EQ(tanh.at(2), -1);
}

TEST_P(SpecialValues, ANaNReachesEveryElementOfItsRowAndColumn) {
  std::vector<double> x(20 * 30, 1.0), weight(30 * 32, 1.0);
  x[7 * 30 + 29] = kNaN;
  const auto y = run(caseOf("linear", {{20, 30}, {30 * 32}, {20, 20}}, {x, weight}))[2];
  for (std::int64_t i = 0; i < 400; ++i)
    EXPECT_EQ(std::isnan(y.at(i)), i / 20 == 7) << i;
}

TEST_P(SpecialValues, CrossEntropyOfExtremeRows) {
  const std::vector<double> logits = {1,     kNaN, 2, kInf,  0,     0, -kInf, -kInf,
                                      -kInf, 1e30, 0, -1e30, -kInf, 5, 5};
  const auto out =
      run(caseOf("softmax_cross_entropy", {{5, 3}, {5}, {1}, {1}, {5}, {1}}, {logits, {0, 0, 0, 0, 1}, {5}}));
  const std::vector<double> sums = out[4].values();
  EXPECT_TRUE(std::isnan(sums[0]) && std::isnan(sums[1]) && std::isnan(sums[2]));
  EXPECT_EQ(float(sums[3]), 1e30f);
  EXPECT_NEAR(sums[4], 5 + std::log(2), 1e-6);
  EXPECT_TRUE(std::isnan(out[3].at(0)));
}

TEST_P(SpecialValues, CrossEntropyOfLargeLogitsKeepsItsDigits) {
  const auto out =
      run(caseOf("softmax_cross_entropy", {{1, 2}, {1}, {1}, {1}, {1}, {1}}, {{10000, 9999}, {0}, {1}}));
  EXPECT_NEAR(out[3].at(0), std::log1p(std::exp(-1.0)), 1e-7);
}

TEST_P(SpecialValues, ALabelThatIsNoColumnGivesNaN) {
  for (double label : {-1.0, 3.0, 2147483647.0, -2147483648.0}) {
    const auto forward = run(caseOf("softmax_cross_entropy", {{2, 3}, {2}, {1}, {1}, {2}, {1}},
                                    {{1, 2, 3, 4, 5, 6}, {0, label}, {2}}));
    EXPECT_TRUE(std::isnan(forward[3].at(0)));
    EXPECT_NEAR(forward[4].at(1), 6.40760596, 1e-5);
    const auto grad = run(caseOf("softmax_cross_entropy_grad", {{2, 3}, {2}, {2}, {1}, {2, 3}},
                                 {{1, 2, 3, 4, 5, 6}, {0, label}, {3.4, 6.4}, {2}}))[4];
    for (int i = 0; i < 6; ++i)
      EXPECT_EQ(std::isnan(grad.at(i)), i >= 3);
    EXPECT_EQ(
        run(caseOf("count_correct", {{2, 3}, {2}, {1}, {1}}, {{9, 2, 3, 4, 5, 6}, {0, label}, {2}}))[3].at(0),
        1);
  }
}

TEST_P(SpecialValues, RowsBeyondTheValidOnesDoNotCount) {
  const std::vector<double> logits = {3, 0, 0, kNaN}, target = {1, 1, 1, 1};
  for (const auto &[valid, mean] : {std::pair{-5, 0.0}, {0, 0.0}, {1, std::log1p(std::exp(-3.0))}}) {
    const auto out = run(caseOf("softmax_cross_entropy", {{2, 2}, {2}, {1}, {1}, {2}, {1}},
                                {logits, {0, -7}, {double(valid)}}));
    EXPECT_NEAR(out[3].at(0), mean, 1e-6) << valid;
    EXPECT_EQ(out[5].at(0), std::max(valid, 0));
    EXPECT_EQ(
        run(caseOf("count_correct", {{2, 2}, {2}, {1}, {1}}, {logits, {0, 1}, {double(valid)}}))[3].at(0),
        std::max(valid, 0));
    EXPECT_NEAR(
        run(caseOf("mse_loss", {{2, 2}, {2, 2}, {1}, {1}}, {logits, target, {double(valid)}}))[3].at(0),
        valid > 0 ? 2.5 : 0.0, 1e-6);
  }
  // More than there are: all of them.
  const auto all = run(caseOf("mse_loss", {{2, 2}, {2, 2}, {1}, {1}}, {target, {1, 1, 1, 3}, {2147483647}}));
  EXPECT_EQ(all[3].at(0), 1);
}

/// Not even their NaNs; and when no row counts, the loss and the gradient are zero.
TEST_P(SpecialValues, IgnoredRowsDoNotCount) {
  const std::vector<Shape> forward = {{2, 2}, {2}, {1}, {1}, {2}, {1}},
                           backward = {{2, 2}, {2}, {2}, {1}, {2, 2}};
  const std::vector<double> logits = {3, 0, 0, kNaN};
  const auto one = run(caseOf("softmax_cross_entropy", forward, {logits, {0, -100}, {2}}));
  EXPECT_NEAR(one[3].at(0), std::log1p(std::exp(-3.0)), 1e-6);
  EXPECT_EQ(one[5].at(0), 1);
  const auto grad = run(caseOf("softmax_cross_entropy_grad", backward,
                               {logits, {0, -100}, one[4].values(), one[5].values()}))[4];
  EXPECT_NEAR(grad.at(1), 1 / (1 + std::exp(3.0)), 1e-6);
  EXPECT_EQ(grad.at(2), 0);
  EXPECT_EQ(grad.at(3), 0);
  const auto none = run(caseOf("softmax_cross_entropy", forward, {logits, {-100, -100}, {2}}));
  EXPECT_EQ(none[3].at(0), 0);
  EXPECT_EQ(none[5].at(0), 0);
}

TEST_P(SpecialValues, BinaryCrossEntropyOfANaNIsOne) {
  const auto loss = run(caseOf("bce_with_logits", {{3}, {3}, {1}, {1}}, {{1, kNaN, 2}, {1, 0, 1}, {3}}))[3];
  EXPECT_TRUE(std::isnan(loss.at(0)));
}

TEST_P(SpecialValues, TheFirstNaNIsTheLargest) {
  for (const auto &[label, correct] : {std::pair{0, 0}, {1, 1}, {2, 0}, {3, 0}})
    EXPECT_EQ(run(caseOf("count_correct", {{1, 4}, {1}, {1}, {1}},
                         {{9, kNaN, kNaN, kInf}, {double(label)}, {1}}))[3]
                  .at(0),
              correct);
}

TEST_P(SpecialValues, ClippingOfStrangeNorms) {
  const auto nan = run(caseOf("clip_coefficient", {{2}, {1}, {1}}, {{1, kNaN}}));
  EXPECT_EQ(nan[1].at(0), 1);
  EXPECT_TRUE(std::isnan(nan[2].at(0)));
  const auto inf = run(caseOf("clip_coefficient", {{2}, {1}, {1}}, {{1, kInf}}));
  EXPECT_EQ(inf[1].at(0), 0);
  const auto zero = run(caseOf("clip_coefficient", {{2}, {1}, {1}}, {{0, 0}}));
  EXPECT_EQ(zero[1].at(0), 1);
}

TEST_P(SpecialValues, ClippingThatSkipsStrangeNorms) {
  const std::vector<catalogue::Attribute> skip = {{"skip", std::int64_t(1)}};
  for (double bad : {double(kNaN), double(kInf)}) {
    const auto out = run(caseOf("clip_coefficient", {{2}, {1}, {1}}, {{1, bad}}, skip));
    EXPECT_TRUE(std::isnan(out[1].at(0)));
    EXPECT_FALSE(std::isfinite(out[2].at(0)));
  }
  EXPECT_EQ(run(caseOf("clip_coefficient", {{2}, {1}, {1}}, {{9, 16}}, skip))[1].at(0),
            float(1 / (5 + 1e-6)));
}

/// A coefficient that is not a number: parameters and states stay, the gradient becomes zero.
TEST_P(SpecialValues, ANaNCoefficientSkipsTheStep) {
  for (const char *kernel : {"sgd", "adam", "lion", "adagrad", "lamb"}) {
    const auto *entry = catalogue::find(kernel, 1);
    std::vector<Shape> shapes;
    for (const auto &rule : entry->operands) {
      const bool isScalar = rule.access == catalogue::Access::Read;
      shapes.push_back({rule.name == "bias_corrections" ? 2 : isScalar ? 1 : 19});
    }
    // As many contents as there are elements: 0.5 everywhere.
    std::vector<std::vector<double>> halves;
    for (const Shape &shape : shapes)
      halves.emplace_back(std::size_t(shape[0]), 0.5);
    KernelCase one = caseOf(kernel, shapes, halves);
    one.operands[3].set(0, kNaN);
    one.operands[1].set(3, kInf);
    const auto out = run(one);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const Buffer zero(DType::F32, 19);
      EXPECT_TRUE(out[i].sameBits(i == 1 ? zero : one.operands[i])) << kernel << " operand " << i;
    }
  }
}

TEST_P(SpecialValues, NormsDoNotOverflow) {
  const auto out = run(caseOf("gradient_norm_partials", {{3}, {1}}, {{3e38, -3e38, 1e-30}}));
  EXPECT_NEAR(out[1].at(0) / 1.8e77, 1.0, 1e-6);
}

TEST_P(SpecialValues, MomentumNeedsItsBuffer) {
  const std::vector<Shape> shapes = {{4}, {4}, {1}, {1}, {1}};
  const auto prepared = prepare({catalogue::find("sgd", 1), shapes, {{"momentum", 0.9}}}, GetParam());
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().text(), "kernel sgd: momentum is not 0 and there is no momentum_buffer");
}

/// One product x * w in a thread of its own; the bits of the result.
std::uint32_t productIn(Isa isa, bool flush, std::uint32_t x, float w) {
  std::uint32_t out = 0;
  std::thread([&] {
    std::fesetenv(FE_DFL_ENV); // a new thread starts with its parent's mode
    if (flush)
      setFlushToZero();
    KernelCase one = caseOf("linear", {{1, 1}, {32}, {1, 1}}, {{}, {w}});
    one.operands[0].as<std::uint32_t>()[0] = x;
    SerialTileRunner runner;
    out = runCase(one, isa, runner)[2].as<std::uint32_t>()[0];
  }).join();
  return out;
}

TEST(FlushToZero, SubnormalInputsAndResultsAreZeroInAThreadThatAsksForIt) {
  constexpr std::uint32_t kSubnormal = 71362; // 1e-40
  for (Isa isa : supportedIsas()) {
    const std::uint32_t normal = std::bit_cast<std::uint32_t>(1e-30f);
    EXPECT_NE(productIn(isa, false, normal, 1e-10f), 0u) << name(isa);
    EXPECT_NE(productIn(isa, false, kSubnormal, 1e20f), 0u) << name(isa);
    EXPECT_EQ(productIn(isa, true, normal, 1e-10f), 0u) << name(isa) << ": the result";
    EXPECT_EQ(productIn(isa, true, kSubnormal, 1e20f), 0u) << name(isa) << ": the input";
  }
}

} // namespace

} // namespace stagewright::kernels
