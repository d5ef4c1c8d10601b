#include "frontends/config/BatchTriangle.h"

#include <gtest/gtest.h>

using namespace stagewright;

namespace {

constexpr std::int64_t kAbsent = -1;

struct Row {
  std::int64_t train, micro, microBatches;
  int ranks;
  std::int64_t expected[3]; ///< train, micro, micro-batches
};

GivenBatch given(std::int64_t train, std::int64_t micro, std::int64_t microBatches) {
  auto optional = [](std::int64_t v) { return v == kAbsent ? std::nullopt : std::optional(v); };
  return {optional(train), optional(micro), optional(microBatches)};
}

} // namespace

TEST(BatchTriangle, InfersAsDeepSpeedDoes) {
  const Row rows[] = {
      {32, 16, 1, 2, {32, 16, 1}}, // the first two are cases of DeepSpeed's own test
      {32, 8, 2, 2, {32, 8, 2}},
      {32, 32, 1, 1, {32, 32, 1}},
      {64, 16, kAbsent, 1, {64, 16, 4}},
      {64, 8, kAbsent, 4, {64, 8, 2}},
      {64, kAbsent, 4, 1, {64, 16, 4}},
      {64, kAbsent, 4, 2, {64, 8, 4}},
      {kAbsent, 16, 4, 1, {64, 16, 4}},
      {kAbsent, 16, 4, 3, {192, 16, 4}},
      {64, kAbsent, kAbsent, 1, {64, 64, 1}},
      {64, kAbsent, kAbsent, 4, {64, 16, 1}},
      {kAbsent, 16, kAbsent, 1, {16, 16, 1}},
      {kAbsent, 16, kAbsent, 4, {64, 16, 1}},
      {2147483647, 2147483647, 1, 1, {2147483647, 2147483647, 1}},
      {65535, kAbsent, 65535, 1, {65535, 1, 65535}},
  };
  for (const Row &row : rows) {
    Result<BatchSizes> sizes = resolveBatch(given(row.train, row.micro, row.microBatches), row.ranks, "p");
    ASSERT_TRUE(sizes) << sizes.error().text();
    EXPECT_EQ(sizes->train, row.expected[0]);
    EXPECT_EQ(sizes->micro, row.expected[1]);
    EXPECT_EQ(sizes->microBatches, row.expected[2]);
  }
}

TEST(BatchTriangle, PrintsAllFourNumbersWhenTheyDoNotAgree) {
  struct Bad {
    std::int64_t train, micro, microBatches;
    int ranks;
    const char *what;
  };
  const Bad rows[] = {
      {33, 17, 2, 2, // the first two are cases of DeepSpeed's own test
       "train_batch_size 33 is not train_micro_batch_size_per_gpu 17 x gradient_accumulation_steps 2 x "
       "data-parallel "
       "ranks 2"},
      {32, 18, 1, 2,
       "train_batch_size 32 is not train_micro_batch_size_per_gpu 18 x gradient_accumulation_steps 1 x "
       "data-parallel "
       "ranks 2"},
      {32, 5, kAbsent, 1,
       "train_batch_size 32 is not train_micro_batch_size_per_gpu 5 x gradient_accumulation_steps 6 "
       "(inferred) x "
       "data-parallel ranks 1"},
      {4, 8, kAbsent, 1,
       "train_batch_size 4 is not train_micro_batch_size_per_gpu 8 x gradient_accumulation_steps 0 "
       "(inferred) x "
       "data-parallel ranks 1"},
      {64, kAbsent, 5, 1,
       "train_batch_size 64 is not train_micro_batch_size_per_gpu 12 (inferred) x "
       "gradient_accumulation_steps 5 x "
       "data-parallel ranks 1"},
      {3, kAbsent, kAbsent, 2,
       "train_batch_size 3 is not train_micro_batch_size_per_gpu 1 (inferred) x gradient_accumulation_steps "
       "1 "
       "(inferred) x data-parallel ranks 2"},
  };
  for (const Bad &row : rows) {
    Result<BatchSizes> sizes = resolveBatch(given(row.train, row.micro, row.microBatches), row.ranks, "p");
    ASSERT_FALSE(sizes);
    EXPECT_EQ(sizes.error().what, row.what);
    EXPECT_EQ(sizes.error().place, "p");
    EXPECT_EQ(sizes.error().kind, ErrorKind::User);
    EXPECT_FALSE(sizes.error().advice.empty());
  }
}

TEST(BatchTriangle, NeitherSizeAndSizesOutOfRange) {
  for (GivenBatch bad :
       {given(kAbsent, kAbsent, kAbsent), given(kAbsent, kAbsent, 4), given(0, kAbsent, kAbsent),
        given(-8, 8, kAbsent), given(8, 0, kAbsent), given(8, kAbsent, 0), given(8, -8, -1),
        given(2147483648, kAbsent, kAbsent), given(INT64_MAX, INT64_MAX, INT64_MAX),
        given(kAbsent, 65536, 65535), given(kAbsent, 2147483647, 2), given(65536, 1, kAbsent),
        given(65536, kAbsent, 65536)}) {
    Result<BatchSizes> sizes = resolveBatch(bad, 1, "p");
    ASSERT_FALSE(sizes);
    EXPECT_EQ(sizes.error().kind, ErrorKind::User);
    EXPECT_FALSE(sizes.error().advice.empty());
  }
  EXPECT_FALSE(resolveBatch(given(kAbsent, 2147483647, 65535), 70000, "p")); // the product exceeds 63 bits
}

TEST(BatchTriangle, AcceptsExactlyTheProducts) {
  for (int train = 1; train <= 24; ++train)
    for (int micro = 1; micro <= 24; ++micro)
      for (int ranks = 1; ranks <= 3; ++ranks) {
        bool divides = train % (micro * ranks) == 0;
        Result<BatchSizes> sizes = resolveBatch(given(train, micro, kAbsent), ranks, "p");
        ASSERT_EQ(bool(sizes), divides) << train << " " << micro << " " << ranks;
        if (divides)
          EXPECT_EQ(sizes->microBatches, train / (micro * ranks));
        Result<BatchSizes> byCount = resolveBatch(given(train, kAbsent, micro), ranks, "p");
        ASSERT_EQ(bool(byCount), divides);
      }
}
