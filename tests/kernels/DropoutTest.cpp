// What dropout keeps, and what its choice depends on.
#include "KernelCases.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace stagewright::kernels {

namespace {

/// Dropout of `x` with seed, step and micro-batch.
std::vector<double> dropped(const std::vector<double> &x, double p, const std::vector<double> &random,
                            std::int64_t block = 0, std::int64_t ordinal = 0) {
  const std::int64_t count = std::int64_t(x.size());
  KernelCase one{{catalogue::find("dropout", 1),
                  {{count}, {4}, {count}},
                  {{"p", p}, {"block", block}, {"ordinal", ordinal}}},
                 {},
                 0,
                 0};
  for (auto dtype : {catalogue::DType::F32, catalogue::DType::I32, catalogue::DType::F32})
    one.operands.emplace_back(dtype, dtype == catalogue::DType::I32 ? 4 : count);
  for (std::size_t i = 0; i < x.size(); ++i)
    one.operands[0].set(std::int64_t(i), x[i]);
  for (std::size_t i = 0; i < 4; ++i)
    one.operands[1].set(std::int64_t(i), random[i]);
  SerialTileRunner runner;
  return runCase(one, bestIsa(), runner)[2].values();
}

TEST(Dropout, KeepsTheShareThatItSays) {
  const std::vector<double> ones(100000, 1.0);
  for (double p : {0.1, 0.25, 0.9}) {
    std::int64_t kept = 0;
    for (double y : dropped(ones, p, {1, 2, 3, 4})) {
      EXPECT_TRUE(y == 0 || y == double(float(1 / (1 - p))));
      kept += y != 0;
    }
    EXPECT_NEAR(double(kept), 1e5 * (1 - p), 5 * std::sqrt(1e5 * p * (1 - p)));
  }
}

TEST(Dropout, EveryNumberOfItsStreamCounts) {
  const std::vector<double> ones(4096, 1.0), random = {1, 2, 3, 4}, first = dropped(ones, 0.5, random, 5, 6);
  EXPECT_EQ(dropped(ones, 0.5, random, 5, 6), first);
  std::vector<std::vector<double>> others = {dropped(ones, 0.5, random, 6, 6),
                                             dropped(ones, 0.5, random, 5, 7)};
  for (std::size_t i = 0; i < 4; ++i) {
    std::vector<double> changed = random;
    changed[i] += 1;
    others.push_back(dropped(ones, 0.5, changed, 5, 6));
  }
  for (const std::vector<double> &other : others) {
    std::int64_t same = 0;
    for (std::size_t i = 0; i < ones.size(); ++i)
      same += other[i] == first[i];
    EXPECT_NEAR(double(same), 2048, 5 * 32);
  }
}

TEST(Dropout, WhatIsDroppedIsZero) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(dropped({1, nan, -3}, 1.0, {1, 2, 3, 4}), (std::vector<double>{0, 0, 0}));
}

TEST(Dropout, RefusesWhatIsNoProbability) {
  const auto refused = [](catalogue::Attribute attribute, std::int64_t count = 4) {
    const auto prepared =
        prepare({catalogue::find("dropout", 1), {{count}, {4}, {count}}, {std::move(attribute)}}, bestIsa());
    return !prepared && prepared.error().kind == ErrorKind::User;
  };
  EXPECT_FALSE(refused({"p", 1.0}));
  EXPECT_TRUE(refused({"p", 1.0625}));
  EXPECT_TRUE(refused({"p", -0.1}));
  EXPECT_TRUE(refused({"block", std::int64_t(65536)}));
  EXPECT_TRUE(refused({"ordinal", std::int64_t(-1)}));
  EXPECT_FALSE(refused({"p", 0.5}, std::int64_t(1) << 34));
  EXPECT_TRUE(refused({"p", 0.5}, (std::int64_t(1) << 34) + 1));
}

} // namespace

} // namespace stagewright::kernels
