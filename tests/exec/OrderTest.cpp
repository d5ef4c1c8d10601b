// Order is real: with every F, I and W a sleep of one unit, and B of two, a step takes its closed form
// (design, section 9): GPipe and 1F1B 3 (m + p - 1), ZB-H1 3 m + p - 1.
#include "TestRun.h"

#include "runtime/device/Futex.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <sys/resource.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

constexpr int kMicroBatches = 8, kStages = 4;
constexpr double kUnit = 0.010;

/// First begin and last end of compute tasks, per step and rank.
struct Spans {
  struct Span {
    std::int64_t begin = INT64_MAX, end = 0;
  };
  std::array<std::array<Span, kStages>, 4> of{};
  Hooks hooks() {
    Hooks hooks;
    hooks.context = this;
    hooks.beforeTask = [](void *context, const TaskEvent &event) {
      if (schedule::isCompute(event.task.kind)) {
        auto &span = static_cast<Spans *>(context)->of[event.step][event.rank];
        span.begin = std::min(span.begin, monotonicNanoseconds());
      }
    };
    hooks.afterTask = [](void *context, const TaskEvent &event) {
      if (schedule::isCompute(event.task.kind)) {
        static_cast<Spans *>(context)->of[event.step][event.rank].end = monotonicNanoseconds();
      }
    };
    return hooks;
  }
  double seconds(int step) const {
    Span all;
    for (const Span &span : of[step]) {
      all = {std::min(all.begin, span.begin), std::max(all.end, span.end)};
    }
    return static_cast<double>(all.end - all.begin) * 1e-9;
  }
};

double processorSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

class Order : public testing::TestWithParam<std::pair<const char *, int>> {};

TEST_P(Order, SleepingTasksTakeTheClosedForm) {
  TrainOptions run = options(classifier({0, 1, 2, 3, 4}, GetParam().first, kMicroBatches), "sleep", 3);
  run.taskSleepMilliseconds = static_cast<int>(1000 * kUnit);
  run.threads = 1; // sleeping needs no permit
  Spans spans;
  run.hooks = {spans.hooks()};
  const double before = processorSeconds();
  ASSERT_TRUE(train(run));
  const double used = processorSeconds() - before, expected = GetParam().second * kUnit;
  const double best = std::min({spans.seconds(1), spans.seconds(2), spans.seconds(3)});
  EXPECT_GE(best, 0.999 * expected);
  EXPECT_LT(best, 1.05 * expected); // the 3 % of the design are for sleeps of 20 ms
  EXPECT_LT(used, 0.1 * 3 * expected) << "waiting burns the processor";
}

INSTANTIATE_TEST_SUITE_P(Schedules, Order,
                         testing::Values(std::pair{"gpipe", 3 * (kMicroBatches + kStages - 1)},
                                         std::pair{"1f1b", 3 * (kMicroBatches + kStages - 1)},
                                         std::pair{"zb-h1", 3 * kMicroBatches + kStages - 1}));

} // namespace
