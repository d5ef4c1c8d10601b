// The loss scale against traces of DeepSpeed's rules.
#include "runtime/train/LossScale.h"

#include <gtest/gtest.h>
#include <vector>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

struct State {
  double scale;
  int left;
  bool operator==(const State &) const = default;
};
std::ostream &operator<<(std::ostream &out, const State &state) {
  return out << "(" << state.scale << ", " << state.left << ")";
}

/// Scale and overflows left after each update; ends before the one that is an error.
std::vector<State> trace(const LossScaleRules &rules, const std::vector<int> &overflows) {
  LossScale scale(rules);
  std::vector<State> states;
  for (const int overflow : overflows) {
    if (!scale.update(overflow != 0)) {
      break;
    }
    states.push_back({scale.value(), scale.hysteresisLeft()});
  }
  return states;
}

std::vector<double> scales(const LossScaleRules &rules, const std::vector<int> &overflows) {
  std::vector<double> list;
  for (const State &state : trace(rules, overflows)) {
    list.push_back(state.scale);
  }
  return list;
}

TEST(LossScale, GrowsBehindEachWindow) {
  EXPECT_EQ(scales({.initial = 256, .window = 2}, {0, 0, 0, 0, 0, 0, 0, 0}),
            (std::vector<double>{256, 256, 512, 512, 1024, 1024, 2048, 2048}));
}

TEST(LossScale, HysteresisPutsOffTheFirstHalving) {
  const std::vector<int> overflows(6, 1);
  EXPECT_EQ(trace({.initial = 16}, overflows),
            (std::vector<State>{{16, 1}, {8, 1}, {4, 1}, {2, 1}, {1, 1}})); // the sixth is an error
  LossScale scale({.initial = 1, .hysteresis = 1});
  const auto ended = scale.update(true);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::User);
}

TEST(LossScale, MixedSteps) {
  EXPECT_EQ(
      trace({.initial = 256, .window = 2}, {1, 1, 0, 0, 0, 1, 1, 0}),
      (std::vector<State>{{256, 1}, {128, 1}, {128, 1}, {128, 1}, {256, 2}, {256, 1}, {128, 1}, {128, 1}}));
}

TEST(LossScale, ConsecutiveHysteresisBeginsAgain) {
  EXPECT_EQ(trace({.initial = 256, .window = 2, .consecutiveHysteresis = true}, {1, 0, 1, 0, 1, 1, 0, 0, 0}),
            (std::vector<State>{
                {256, 1}, {256, 2}, {256, 1}, {256, 2}, {256, 1}, {128, 1}, {128, 2}, {128, 2}, {256, 2}}));
}

TEST(LossScale, WithoutZeroItStaysAtTheMinimum) {
  EXPECT_EQ(scales({.initial = 16, .hysteresis = 1, .endsAtMinimum = false}, std::vector<int>(8, 1)),
            (std::vector<double>{8, 4, 2, 1, 1, 1, 1, 1}));
  EXPECT_EQ(scales({.initial = 8, .hysteresis = 1, .minimum = 3, .endsAtMinimum = false}, {1, 1, 1}),
            (std::vector<double>{4, 3, 3}));
}

TEST(LossScale, AStaticScaleNeverChanges) {
  EXPECT_EQ(scales({.initial = 128, .dynamic = false, .window = 1}, {1, 0, 0, 0, 1, 1}),
            std::vector<double>(6, 128));
}

TEST(LossScale, GrowthEndsAtTheLargestPowerOfFp32) {
  LossScale scale({.initial = 0x1p126, .window = 1});
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(scale.update(false));
  }
  EXPECT_EQ(scale.value(), 0x1p127);
}

} // namespace
