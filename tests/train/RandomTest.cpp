#include "runtime/train/Random.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

// The test suite of the FNV authors (isthe.com/chongo/tech/comp/fnv).
TEST(Random, HashKnownAnswers) {
  EXPECT_EQ(hashName(""), 0xcbf29ce484222325u);
  EXPECT_EQ(hashName("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(hashName("foobar"), 0x85944171f73967e8u);
}

TEST(Random, WordsFollowTheStatedCounterAndKey) {
  const RandomStream stream(0x1122334455667788, "foobar");
  for (const std::uint64_t index : {0ull, 1ull, 6ull, 4ull << 33 | 3}) {
    const std::uint64_t block = index / 4;
    const random::PhiloxBlock expected =
        random::philox({{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                         0xf73967e8, 0x85944171}},
                       {{0x55667788, 0x11223344}});
    EXPECT_EQ(stream.word(index), expected[index % 4]) << index;
  }
  EXPECT_EQ(stream.integer(5, 1000), (std::uint64_t{stream.word(5)} * 1000) >> 32);
}

TEST(Random, UniformFollowsTheStatedFormulaAnywhere) {
  const RandomStream stream(7, "fc1.weight");
  std::vector<float> whole(1001), part(13);
  stream.fillUniform(whole, 0.3);
  stream.fillUniform(part, 0.3, 501);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const double c = (2.0 * (stream.word(i) >> 8) + 1 - 16777216.0) / 16777216.0;
    ASSERT_EQ(whole[i], static_cast<float>(c * 0.3)) << i;
    ASSERT_LT(std::fabs(whole[i]), 0.3f);
  }
  for (std::size_t i = 0; i < part.size(); ++i) {
    EXPECT_EQ(part[i], whole[501 + i]);
  }
}

TEST(Random, QuantilesMatchTheNormalDistribution) {
  // erfc of the C library is the independent truth: Phi(x) = erfc(-x / sqrt(2)) / 2.
  for (const double p :
       {1e-300, 1e-30, 1e-10, 1e-3, 0.02, 0.0749, 0.0751, 0.3, 0.5, 0.77, 0.9251, 0.99, 1 - 1e-9}) {
    const double x = normalQuantile(p);
    const double back = p < 0.5 ? std::erfc(-x / std::sqrt(2.0)) / 2 : 1 - std::erfc(x / std::sqrt(2.0)) / 2;
    EXPECT_NEAR(back / p, 1, 1e-12) << p;
  }
  EXPECT_EQ(normalQuantile(0.5), 0);
  EXPECT_NEAR(normalQuantile(0.975), 1.959963984540054, 1e-15);
}

TEST(Random, NormalHasTheRightMoments) {
  const RandomStream stream(7, "noise");
  std::vector<float> values(200000);
  stream.fillNormal(values, 2.0);
  double mean = 0, square = 0, fourth = 0;
  for (const double value : values) {
    mean += value / values.size();
    square += value * value / values.size();
    fourth += std::pow(value, 4) / values.size();
  }
  EXPECT_NEAR(mean, 0, 0.02); // 4.5 standard errors
  EXPECT_NEAR(square, 4, 0.06);
  EXPECT_NEAR(fourth, 48, 2.5);
}

TEST(Random, StreamsDiffer) {
  EXPECT_NE(RandomStream(1, "a").word(0), RandomStream(1, "b").word(0));
  EXPECT_NE(RandomStream(1, "a").word(0), RandomStream(2, "a").word(0));
  EXPECT_NE(RandomStream(1, "a").word(0), RandomStream(1 | 1ull << 40, "a").word(0));
}

} // namespace
