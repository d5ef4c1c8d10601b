// How replicas divide parameters: every element once, in one piece per replica, evenly.
#include "schedule/Shards.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <random>

using namespace stagewright::schedule;

namespace {

constexpr std::int64_t kGranule = 16384;

std::vector<std::int64_t> totals(const std::vector<ShardPiece> &pieces, int replicas) {
  std::vector<std::int64_t> held(static_cast<std::size_t>(replicas), 0);
  for (const ShardPiece &piece : pieces) {
    held[static_cast<std::size_t>(piece.replica)] += piece.elements;
  }
  return held;
}

} // namespace

TEST(Shards, EqualGranulesAreSharedOutEvenly) {
  // 12 granules over 4 replicas: three each, in order.
  const std::vector<ShardPiece> pieces = cutShards({{12 * kGranule, kGranule, 0}}, 4);
  ASSERT_EQ(pieces.size(), 4u);
  for (int r = 0; r < 4; ++r) {
    EXPECT_EQ(pieces[static_cast<std::size_t>(r)], (ShardPiece{0, 3 * r * kGranule, 3 * kGranule, r, 0}));
  }
  EXPECT_EQ(shardElements(pieces), 3 * kGranule);
}

TEST(Shards, ALaterChunkEvensOutWhatAnEarlierOneCouldNot) {
  // A granule in each of four chunks: one for each replica.
  const std::vector<ShardPiece> pieces = cutShards(
      {{kGranule, kGranule, 0}, {kGranule, kGranule, 1}, {kGranule, kGranule, 2}, {kGranule, kGranule, 3}},
      4);
  EXPECT_EQ(totals(pieces, 4), std::vector<std::int64_t>(4, kGranule));
}

TEST(Shards, ALargeChunkIsSpreadOverAllReplicas) {
  const std::vector<ShardPiece> pieces =
      cutShards({{40 * kGranule, kGranule, 0}, {40 * kGranule, kGranule, 1}}, 4);
  EXPECT_EQ(pieces.size(), 8u);
}

TEST(Shards, WhatIsNotCutStaysWhole) {
  const std::vector<ShardPiece> pieces =
      cutShards({{100'000, 100'000, 0}, {7, 7, 0}, {90'000, 90'000, 1}}, 2);
  EXPECT_EQ(pieces.size(), 3u);
}

TEST(Shards, RandomParameters) {
  std::mt19937_64 random(1);
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  for (int turn = 0; turn < 3000; ++turn) {
    const int replicas = static_cast<int>(1 + below(turn % 10 == 0 ? 256 : 9));
    std::vector<Divided> parameters;
    int chunk = 0;
    for (std::int64_t count = below(20); count >= 0; --count) {
      const std::int64_t elements = 1 + (below(2) ? below(300) : below(40 * kGranule));
      parameters.push_back({elements, kGranule, chunk});
      chunk += below(3) == 0;
    }
    const std::vector<ShardPiece> pieces = cutShards(parameters, replicas);
    std::vector<std::int64_t> next(parameters.size(), 0);
    std::map<int, std::int64_t> end; // of what each replica has
    std::map<std::pair<std::size_t, int>, int> count;
    for (const ShardPiece &piece : pieces) {
      ASSERT_EQ(piece.first, next[piece.parameter]); // no gap, nothing twice
      ASSERT_EQ(piece.first % kGranule, 0);
      ASSERT_GT(piece.elements, 0);
      ASSERT_TRUE(piece.replica >= 0 && piece.replica < replicas);
      ASSERT_EQ((++count[{piece.parameter, piece.replica}]), 1);
      ASSERT_EQ(piece.offset % 16, 0);
      ASSERT_GE(piece.offset, end[piece.replica]);
      ASSERT_LT(piece.offset - end[piece.replica], 16);
      end[piece.replica] = piece.offset + piece.elements;
      next[piece.parameter] += piece.elements;
      ASSERT_LE(end[piece.replica], shardElements(pieces));
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      ASSERT_EQ(next[i], parameters[i].elements);
    }
    const std::vector<std::int64_t> held = totals(pieces, replicas);
    const auto [least, most] = std::minmax_element(held.begin(), held.end());
    ASSERT_LE(*most - *least, 2 * kGranule) << "turn " << turn << ", " << replicas << " replicas";
  }
}
