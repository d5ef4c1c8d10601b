#include "TestData.h"

#include "runtime/train/Random.h"
#include "runtime/train/SampleOrder.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>
#include <set>

using namespace stagewright;
using namespace stagewright::runtime;
using stagewright::testdata::Folder;

namespace {

std::vector<std::uint32_t> batchOf(SampleOrder &order, std::uint64_t step, const SampleOrder::Shape &shape) {
  std::vector<std::uint32_t> batch;
  for (std::uint32_t rank = 0; rank < shape.dataParallel; ++rank) {
    for (std::uint32_t k = 0; k < shape.microBatches; ++k) {
      const auto samples = order.samples(step, static_cast<int>(rank), static_cast<int>(k));
      EXPECT_EQ(samples.size(), shape.microBatchSize);
      batch.insert(batch.end(), samples.begin(), samples.end());
    }
  }
  return batch;
}

TEST(SampleOrder, IsTheStatedFisherYates) {
  const SampleOrder::Shape shape{3, 4, 1};
  auto order = SampleOrder::shuffled(100, shape, 42, true);
  ASSERT_TRUE(order);
  EXPECT_EQ(order->stepsPerEpoch(), 8u);
  const RandomStream stream(42, "sample order");
  for (const std::uint64_t epoch : {0u, 1u, 5u, 1u}) { // also back again
    std::vector<std::uint32_t> expected(100);
    std::iota(expected.begin(), expected.end(), 0u);
    for (std::uint64_t i = 99; i > 0; --i) {
      std::swap(expected[i],
                expected[stream.integer((epoch << 32) + 99 - i, static_cast<std::uint32_t>(i + 1))]);
    }
    std::vector<std::uint32_t> seen;
    for (std::uint64_t step = 0; step < 8; ++step) {
      const auto batch = batchOf(*order, epoch * 8 + step, shape);
      seen.insert(seen.end(), batch.begin(), batch.end());
    }
    expected.resize(96); // the last incomplete batch is dropped
    EXPECT_EQ(seen, expected) << epoch;
  }
}

TEST(SampleOrder, EpochsAndSeedsDiffer) {
  const SampleOrder::Shape shape{10, 1, 1};
  auto one = SampleOrder::shuffled(50, shape, 1, true), two = SampleOrder::shuffled(50, shape, 2, true);
  ASSERT_TRUE(one && two);
  EXPECT_NE(batchOf(*one, 0, shape), batchOf(*one, 5, shape));
  EXPECT_NE(batchOf(*one, 0, shape), batchOf(*two, 0, shape));
}

TEST(SampleOrder, EverySampleIsDrawnEquallyOften) {
  // First of 8: each value about 4000 / 8 times; 5 standard deviations.
  const SampleOrder::Shape shape{1, 1, 1};
  std::vector<int> count(8, 0);
  auto order = SampleOrder::shuffled(8, shape, 9, true);
  ASSERT_TRUE(order);
  for (std::uint64_t epoch = 0; epoch < 4000; ++epoch) {
    ++count[order->samples(epoch * 8, 0, 0)[0]];
  }
  for (const int n : count) {
    EXPECT_NEAR(n, 500, 105);
  }
}

TEST(SampleOrder, DoesNotDependOnHowTheBatchIsCut) {
  auto whole = SampleOrder::shuffled(40, {12, 1, 1}, 3, true);
  for (const SampleOrder::Shape &shape : {SampleOrder::Shape{3, 4, 1}, {2, 3, 2}, {6, 2, 1}, {1, 12, 1}}) {
    auto cut = SampleOrder::shuffled(40, shape, 3, true);
    ASSERT_TRUE(whole && cut);
    for (std::uint64_t step = 0; step < 7; ++step) {
      EXPECT_EQ(batchOf(*cut, step, shape), batchOf(*whole, step, {12, 1, 1}));
    }
  }
}

TEST(SampleOrder, WithoutShuffleTheOrderOfTheFile) {
  const SampleOrder::Shape shape{2, 2, 1};
  auto order = SampleOrder::shuffled(10, shape, 3, false);
  ASSERT_TRUE(order);
  EXPECT_EQ(batchOf(*order, 1, shape), (std::vector<std::uint32_t>{4, 5, 6, 7}));
  EXPECT_EQ(batchOf(*order, 2, shape), (std::vector<std::uint32_t>{0, 1, 2, 3}));
}

TEST(SampleOrder, Stored) {
  const Folder folder;
  const SampleOrder::Shape shape{2, 1, 1};
  auto order = SampleOrder::stored(folder.write("order", "9\n0\r\n3\n3\n7"), 10, shape);
  ASSERT_TRUE(order) << order.error().text();
  EXPECT_EQ(order->stepsPerEpoch(), 2u);
  for (const std::uint64_t epoch : {0u, 1u}) {
    EXPECT_EQ(batchOf(*order, 2 * epoch, shape), (std::vector<std::uint32_t>{9, 0}));
    EXPECT_EQ(batchOf(*order, 2 * epoch + 1, shape), (std::vector<std::uint32_t>{3, 3}));
  }
}

TEST(SampleOrder, Mistakes) {
  const Folder folder;
  const auto refused = [&](const std::string &text) {
    auto order = SampleOrder::stored(folder.write("order", text), 10, {2, 1, 1});
    EXPECT_FALSE(order);
    return order ? "" : order.error().place;
  };
  const std::string path = folder.path("order");
  EXPECT_EQ(refused("1\n10\n"), path + ":2");
  EXPECT_EQ(refused("1\n-1\n"), path + ":2");
  EXPECT_EQ(refused("1\n\n2\n"), path + ":2");
  EXPECT_EQ(refused("1 2\n"), path + ":1");
  EXPECT_EQ(refused("1\n2\nx\n"), path + ":3");
  EXPECT_EQ(refused("99999999999999999999\n"), path + ":1");
  EXPECT_EQ(refused("1\n"), path); // less than a batch
  EXPECT_FALSE(SampleOrder::stored(folder.path("nothing"), 10, {2, 1, 1}));
  auto few = SampleOrder::shuffled(3, {2, 2, 1}, 1, true);
  ASSERT_FALSE(few);
  EXPECT_NE(few.error().what.find("3 samples are fewer than one batch of 4"), std::string::npos);
}

} // namespace
