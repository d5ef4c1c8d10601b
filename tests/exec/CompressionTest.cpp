// Compressed gradients against their definition: sorted by magnitude, or signs and two means, with what is
// not sent kept for the next step.
#include "runtime/exec/Compression.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <random>

using namespace stagewright;
using catalogue::Compression;
using catalogue::GradientWire;
using runtime::WireFormat;

namespace {

using Values = std::vector<float>;

GradientWire topK(double ratio) {
  return {.compression = Compression::TopK, .ratio = ratio};
}
const GradientWire kOneBit{.compression = Compression::OneBit, .ratio = 0};

std::unique_ptr<WireFormat> formatOf(const GradientWire &layout) {
  auto format = WireFormat::create(layout, kernels::Isa::Portable);
  return format ? std::move(*format) : nullptr;
}

/// What arrives of `gradient`; the residual changes.
Values through(WireFormat &format, const Values &gradient, Values &residual, float scale = 1) {
  std::vector<std::byte> packed(format.bytes(gradient.size()) + 1, std::byte{0xA5});
  format.pack(gradient.data(), residual.data(), scale, packed.data(), gradient.size());
  EXPECT_EQ(packed.back(), std::byte{0xA5}) << "more bytes than planned";
  Values arrived(gradient.size(), -1);
  format.unpack(packed.data(), arrived.data(), arrived.size());
  return arrived;
}

Values largest(const Values &x, std::size_t kept) {
  std::vector<std::size_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(-std::fabs(x[a]), a) < std::pair(-std::fabs(x[b]), b);
  });
  Values sent(x.size(), 0);
  for (std::size_t i = 0; i < kept; ++i) {
    sent[order[i]] = x[order[i]];
  }
  return sent;
}

/// Means of fp64 sums in 16 lanes.
Values twoMeans(const Values &x) {
  double sums[2][16] = {};
  int counts[2] = {};
  for (std::size_t i = 0; i < x.size(); ++i) {
    sums[x[i] < 0][i % 16] += x[i];
    ++counts[x[i] < 0];
  }
  Values sent(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool isNegative = x[i] < 0;
    sent[i] = static_cast<float>(std::accumulate(sums[isNegative], sums[isNegative] + 16, 0.0) /
                                 counts[isNegative]);
  }
  return sent;
}

Values minus(const Values &x, const Values &sent) {
  Values rest(x.size());
  std::transform(x.begin(), x.end(), sent.begin(), rest.begin(), std::minus<>());
  return rest;
}

/// Normal values over many magnitudes; `ties`: a few values many times.
Values drawn(std::size_t count, unsigned seed, bool ties) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Values values(count);
  for (float &value : values) {
    value =
        ties ? std::round(2 * normal(generator)) / 4 : normal(generator) * std::exp(4 * normal(generator));
  }
  return values;
}

constexpr std::size_t kSizes[] = {1, 2, 15, 16, 17, 31, 33, 1000, 16383, 16384};

} // namespace

TEST(Compression, TopKSendsTheLargestAndKeepsTheRest) {
  for (const std::size_t size : kSizes) {
    for (const double ratio : {1e-9, 0.01, 0.1, 0.5, 0.999, 1.0}) {
      for (const bool ties : {false, true}) {
        const auto format = formatOf(topK(ratio));
        Values residual(size, 0);
        for (unsigned step = 0; step < 3; ++step) { // from the second one on with a residual
          const Values gradient = drawn(size, 7 * step + ties, ties);
          Values x = gradient;
          std::transform(x.begin(), x.end(), residual.begin(), x.begin(), std::plus<>());
          const auto kept =
              static_cast<std::size_t>(std::max(1.0, std::ceil(ratio * static_cast<double>(size))));
          const Values expected = largest(x, kept);
          ASSERT_EQ(through(*format, gradient, residual), expected) << size << " x " << ratio;
          ASSERT_EQ(residual, minus(x, expected)) << size << " x " << ratio;
        }
      }
    }
  }
}

TEST(Compression, OneBitSendsSignsAndMeans) {
  for (const std::size_t size : kSizes) {
    for (const bool ties : {false, true}) {
      const auto format = formatOf(kOneBit);
      Values residual(size, 0);
      for (unsigned step = 0; step < 3; ++step) {
        const Values gradient = drawn(size, 5 * step + ties, ties);
        Values x = gradient;
        std::transform(x.begin(), x.end(), residual.begin(), x.begin(), std::plus<>());
        const Values expected = twoMeans(x);
        ASSERT_EQ(through(*format, gradient, residual), expected) << size;
        ASSERT_EQ(residual, minus(x, expected)) << size;
      }
    }
  }
}

TEST(Compression, AllOfItIsSentAsItIs) {
  const auto format = formatOf(topK(1));
  Values gradient = drawn(1000, 3, false), residual(1000, 0);
  gradient[7] = -0.0f;
  const Values arrived = through(*format, gradient, residual);
  EXPECT_EQ(std::memcmp(arrived.data(), gradient.data(), 4000), 0);
  EXPECT_EQ(residual, Values(1000, 0));
}

TEST(Compression, BytesAreThoseOfTheLayout) {
  // Of granules of 16384 elements and what is left: k values and places of two bytes, in whole words; or a
  // bit for each element, in whole words, and two means.
  EXPECT_EQ(topK(0.01).bytes(16384), 6 * 164);
  EXPECT_EQ(topK(0.01).bytes(2 * 16384 + 100), 2 * 6 * 164 + 8);
  EXPECT_EQ(topK(1).bytes(10), 60);
  EXPECT_EQ(topK(0.5).bytes(2), 8);
  EXPECT_EQ(kOneBit.bytes(16384), 2048 + 8);
  EXPECT_EQ(kOneBit.bytes(3 * 16384 + 33), 3 * (2048 + 8) + 8 + 8);
  EXPECT_EQ((GradientWire{.dtype = catalogue::DType::BF16}.bytes(100000)), 200000);
  EXPECT_EQ(GradientWire{}.bytes(100000), 400000);
}

TEST(Compression, WhatIsNotFiniteIsSentAndStaysOutOfTheResidual) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const GradientWire &layout : {topK(0.001), kOneBit}) {
      const auto format = formatOf(layout);
      Values gradient = drawn(16384, 11, false), residual(16384, 0);
      through(*format, gradient, residual);
      const Values before = residual;
      gradient[9000] = bad;
      const Values arrived = through(*format, gradient, residual);
      EXPECT_FALSE(std::all_of(arrived.begin(), arrived.end(), [](float x) { return std::isfinite(x); }));
      EXPECT_EQ(residual, before);
    }
  }
}

TEST(Compression, TheResidualFollowsTheLossScale) {
  for (const GradientWire &layout : {topK(0.02), kOneBit}) {
    const auto plain = formatOf(layout), scaled = formatOf(layout);
    Values residual(3000, 0), other(3000, 0);
    for (const float scale : {65536.0f, 32768.0f, 1.0f, 4.0f}) {
      const Values gradient = drawn(3000, static_cast<unsigned>(scale), false);
      Values larger = gradient;
      std::for_each(larger.begin(), larger.end(), [&](float &x) { x *= scale; });
      Values arrived = through(*scaled, larger, other, scale);
      std::for_each(arrived.begin(), arrived.end(), [&](float &x) { x /= scale; });
      ASSERT_EQ(arrived, through(*plain, gradient, residual)) << scale;
      ASSERT_EQ(other, residual) << scale;
    }
  }
}
