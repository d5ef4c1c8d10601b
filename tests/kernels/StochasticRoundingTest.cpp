// Casts that round by chance: between which numbers, how often, and by which bits.
#include "KernelCases.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace stagewright::kernels {

namespace {

using Numbers = std::vector<double>;
constexpr catalogue::DType kHalves[] = {catalogue::DType::F16, catalogue::DType::BF16};

/// {seed low, seed high, step, tensor rank + 1, whether numbers are drawn}
const Numbers kRounding = {double(std::int32_t(0x7F4A7C15)), double(std::int32_t(0x9E3779B9)), 41, 2, 1};

Numbers rounded(catalogue::DType element, const Numbers &x, const Numbers &rounding = kRounding,
                std::int64_t parameter = 7, std::int64_t split = 0, Isa isa = bestIsa()) {
  const std::int64_t count = std::int64_t(x.size());
  SerialTileRunner runner;
  const KernelCase one = withElement(caseOf("cast_stochastic", {{count}, {5}, {count}}, {x, rounding, {}},
                                            {{"parameter", parameter}, {"split", split}}),
                                     element);
  return runCase(one, isa, runner)[2].values();
}

/// The numbers of the type from 0 on, in order; of bf16 not those that are subnormal in fp32, too.
Numbers numbersOf(catalogue::DType element) {
  Buffer patterns(element, 65536);
  for (unsigned i = 0; i < 65536; ++i)
    patterns.as<std::uint16_t>()[i] = std::uint16_t(i);
  Numbers all = patterns.values();
  const double smallest = element == catalogue::DType::F16 ? 0 : 0x1p-126;
  std::erase_if(all, [&](double x) { return !std::isfinite(x) || std::signbit(x) || x < smallest; });
  std::sort(all.begin(), all.end());
  return all;
}

struct RoundingGolden {
  catalogue::DType element;
  std::int64_t split;
  Numbers x, y;
};
#include "RoundingGoldens.inc"

TEST(StochasticRounding, DrawsTheBitsOfItsContract) {
  for (const RoundingGolden &golden : kGoldens)
    for (Isa isa : supportedIsas()) {
      EXPECT_EQ(rounded(golden.element, golden.x, kRounding, 7, golden.split, isa), golden.y) << name(isa);
      EXPECT_EQ(rounded(catalogue::DType::F32, golden.x, kRounding, 7, golden.split, isa), golden.x);
    }
}

/// Between any two neighbours of either sign, subnormal numbers of fp16 among them.
TEST(StochasticRounding, GivesOneOfTheTwoNeighbours) {
  for (catalogue::DType element : kHalves) {
    const Numbers all = numbersOf(element);
    Numbers x;
    const auto sign = [](std::size_t i) { return i % 2 == 0 ? 1.0 : -1.0; };
    for (std::size_t i = 0; i + 1 < all.size(); ++i)
      x.push_back(sign(i) * (all[i] + (all[i + 1] - all[i]) * (double(i % 7) + 1) / 8));
    const Numbers y = rounded(element, x);
    std::size_t up = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double found = sign(i) * y[i];
      ASSERT_TRUE(found == all[i] || found == all[i + 1]) << x[i] << " gives " << y[i];
      up += found == all[i + 1];
    }
    EXPECT_NEAR(double(up), 0.5 * double(x.size()), 0.02 * double(x.size()));
  }
}

TEST(StochasticRounding, WhatTheTypeHasStays) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (catalogue::DType element : kHalves) {
    Numbers x = numbersOf(element);
    x.insert(x.end(), {kInfinity, -kInfinity});
    for (std::size_t i = 1; i < x.size(); i += 2)
      x[i] = -x[i];
    EXPECT_EQ(rounded(element, x), x);
    const Numbers zero = rounded(element, {-0.0, std::numeric_limits<double>::quiet_NaN()});
    EXPECT_TRUE(zero[0] == 0 && std::signbit(zero[0]) && std::isnan(zero[1]));
  }
  const Numbers thirds = {double(1.0f / 3), double(-1e20f)};
  EXPECT_EQ(rounded(catalogue::DType::F32, thirds), thirds);
}

/// The mean of n draws is x, with the deviation d sqrt(f (1 - f) / n) of neighbours d apart.
TEST(StochasticRounding, TheMeanIsTheWeight) {
  constexpr std::size_t kDraws = 1 << 18;
  for (catalogue::DType element : kHalves)
    for (double lower : {1.0, -0.09375, element == catalogue::DType::F16 ? 0x1p-20 : 0x1p-100})
      for (double part : {1.0 / 64, 0.25, 0.5, 0.8125}) {
        const Numbers all = numbersOf(element);
        const double upper = std::copysign(*std::upper_bound(all.begin(), all.end(), std::abs(lower)), lower);
        const double x = lower + part * (upper - lower);
        double sum = 0; // of draws of 0 and 1
        for (double y : rounded(element, Numbers(kDraws, x)))
          sum += (y - lower) / (upper - lower);
        EXPECT_NEAR(sum, part * kDraws, 4.5 * std::sqrt(part * (1 - part) * kDraws)) << x;
      }
}

TEST(StochasticRounding, EveryNumberOfItsStreamCounts) {
  const Numbers x(4096, 1 + 0x1p-8); // halfway in bf16
  const auto element = catalogue::DType::BF16;
  const Numbers first = rounded(element, x, kRounding, 5, 1);
  EXPECT_EQ(rounded(element, x, kRounding, 5, 1), first);
  std::vector<Numbers> others = {rounded(element, x, kRounding, 6, 1), rounded(element, x, kRounding, 5, 0)};
  for (std::size_t i = 0; i < 4; ++i) {
    Numbers changed = kRounding;
    changed[i] += 1;
    others.push_back(rounded(element, x, changed, 5, 1));
  }
  for (const Numbers &other : others) {
    std::int64_t same = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      same += other[i] == first[i];
    EXPECT_NEAR(double(same), 2048, 5 * 32);
  }
  Numbers otherRank = kRounding;
  otherRank[3] = 1; // of what is not split, all tensor ranks draw the same
  EXPECT_EQ(rounded(element, x, otherRank), rounded(element, x));
}

TEST(StochasticRounding, RoundsToTheNearestWhenToldTo) {
  Numbers nearest = kRounding;
  nearest[4] = 0;
  EXPECT_EQ(rounded(catalogue::DType::BF16, {1 + 0x1p-9, 1 + 0x1p-8, 1 + 0x3p-8, 1 + 0x3p-9}, nearest),
            (Numbers{1, 1, 1 + 0x1p-6, 1 + 0x1p-7}));
  // Beyond the largest number always: it has no upper neighbour.
  const Numbers large = rounded(catalogue::DType::F16, {65519, -65519, 65520, -1e6});
  EXPECT_EQ(large, (Numbers{65504, -65504, INFINITY, -INFINITY}));
}

TEST(StochasticRounding, RefusesWhatNoCounterHas) {
  const auto refused = [](catalogue::Attribute attribute, std::int64_t count = 4) {
    const auto prepared = prepare(
        {catalogue::find("cast_stochastic", 1), {{count}, {5}, {count}}, {std::move(attribute)}}, bestIsa());
    return !prepared && prepared.error().kind == ErrorKind::User;
  };
  EXPECT_FALSE(refused({"parameter", std::int64_t(2147483647)}));
  EXPECT_TRUE(refused({"parameter", std::int64_t(2147483648)}));
  EXPECT_TRUE(refused({"parameter", std::int64_t(-1)}));
  EXPECT_TRUE(refused({"split", std::int64_t(2)}));
  EXPECT_FALSE(refused({"split", std::int64_t(1)}, std::int64_t(1) << 34));
  EXPECT_TRUE(refused({"split", std::int64_t(1)}, (std::int64_t(1) << 34) + 1));
}

} // namespace

} // namespace stagewright::kernels
