// The partition methods against DeepSpeed's own published vectors, and the search's refusals.
#include "passes/search/PlanSearch.h"

#include <gtest/gtest.h>

namespace stagewright {
namespace {

using Boundaries = std::vector<std::int64_t>;

TEST(PartitionUniform, EqualsDeepSpeedsVectors) {
  EXPECT_EQ(partitionUniform(10, 3), (Boundaries{0, 4, 7, 10}));
  EXPECT_EQ(partitionUniform(9, 4), (Boundaries{0, 3, 5, 7, 9}));
  EXPECT_EQ(partitionUniform(2, 4), (Boundaries{0, 1, 2, 2, 2}));
  EXPECT_EQ(partitionUniform(13, 5), (Boundaries{0, 3, 6, 9, 11, 13}));
  EXPECT_EQ(partitionUniform(4, 4), (Boundaries{0, 1, 2, 3, 4}));
}

struct BalancedCase {
  std::vector<double> weights;
  int parts;
  Boundaries expected;
};

TEST(PartitionBalanced, EqualsDeepSpeedsVectors) {
  std::vector<double> bert = {52559872};
  bert.insert(bert.end(), 24, 12596224);
  bert.insert(bert.end(), {0, 52559872});
  const std::vector<double> alexNet = {23296, 0, 0, 307392, 0, 0,        663936, 0, 884992,   0, 590080,
                                       0,     0, 0, 0,      0, 37752832, 0,      0, 16781312, 0, 40970};
  const BalancedCase cases[] = {
      {{1, 1, 1, 1, 1}, 4, {0, 2, 3, 4, 5}},
      {{1, 1, 1, 1, 0, 1}, 4, {0, 2, 3, 5, 6}},
      {{0, 1, 2, 3, 3, 3}, 4, {0, 3, 4, 5, 6}},
      {{0, 1.1, 1.9, 3, 3, 3}, 4, {0, 3, 4, 5, 6}},
      {{0, 1.1, 30, 3}, 3, {0, 2, 3, 4}},
      {{0, 1.1, 1.9, 3, 30}, 2, {0, 4, 5}},
      {{1, 2, 1}, 4, {0, 1, 2, 3, 3}},
      {std::vector<double>(10, 1), 3, {0, 4, 7, 10}},
      {std::vector<double>(13, 1), 4, {0, 4, 7, 10, 13}},
      {{10, 1, 1, 1, 1, 10}, 3, {0, 1, 5, 6}},
      {{9, 1, 1, 9, 1, 1}, 3, {0, 2, 4, 6}},
      {{7, 2, 5, 10, 8}, 2, {0, 3, 5}},
      {{7, 2, 5, 10, 8}, 3, {0, 3, 4, 5}},
      {{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}, 4, {0, 5, 9, 11, 12}},
      {{0, 0, 1, 0, 1, 0, 1, 0, 1, 0}, 2, {0, 6, 10}},
      {{4, 19, 19, 10, 9}, 4, {0, 2, 3, 4, 5}},
      {bert, 8, {0, 1, 5, 9, 13, 17, 21, 26, 27}},
      {alexNet, 2, {0, 19, 22}},
      {alexNet, 3, {0, 16, 19, 22}},
      {alexNet, 4, {0, 8, 16, 19, 22}},
  };
  for (const BalancedCase &each : cases) {
    EXPECT_EQ(partitionBalanced(each.weights, each.parts), each.expected)
        << each.weights.size() << " weights";
  }
}

std::vector<BlockRow> fourBlocks() {
  return {{"a", 0, 1, 2}, {"b", 200, 8, 16}, {"c", 0, 1, 1}, {"d", 10, 2, 4}};
}

TEST(SearchPlan, ExplicitCuts) {
  Result<PlanChoice> choice = searchPlan(fourBlocks(), {3, 4, "1f1b", "explicit:1,3"});
  ASSERT_TRUE(choice) << choice.error().text();
  EXPECT_EQ(choice->boundaries, (Boundaries{0, 1, 3, 4}));
  EXPECT_NE(choice->explanation.find("chosen    explicit:1,3"), std::string::npos);
  EXPECT_NE(choice->explanation.find("runner-up uniform"), std::string::npos);
}

TEST(SearchPlan, Refusals) {
  const std::pair<SearchRequest, std::string> cases[] = {
      {{5, 1, "1f1b", "uniform"}, "5 stages for 4 blocks"},
      {{2, 1, "1f1b", "explicit:0"}, "ascending block indexes"},
      {{2, 1, "1f1b", "explicit:4"}, "ascending block indexes"},
      {{2, 1, "1f1b", "explicit:1,2"}, "ascending block indexes"},
      {{3, 1, "1f1b", "explicit:2,2"}, "ascending block indexes"},
      {{2, 1, "1f1b", "explicit:x"}, "'x' is no block index"},
      {{2, 1, "1f1b", "explicit:99999999999999999999"}, "no block index"},
      {{2, 1, "1f1b", "cost"}, "unknown method"},
      {{2, 1, "zigzag", "uniform"}, "zigzag"},
  };
  for (const auto &[request, what] : cases) {
    Result<PlanChoice> choice = searchPlan(fourBlocks(), request);
    ASSERT_FALSE(choice) << what;
    EXPECT_EQ(choice.error().kind, ErrorKind::User);
    EXPECT_NE(choice.error().text().find(what), std::string::npos) << choice.error().text();
  }
}

} // namespace
} // namespace stagewright
