#include "TestRun.h"

#include <gtest/gtest.h>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

/// Trains until the flag goes up after `delay`, and returns how many seconds later the run has ended.
double secondsToStop(TrainOptions run, std::chrono::milliseconds delay) {
  InterruptFlag flag;
  run.interrupt = &flag;
  std::chrono::steady_clock::time_point raised;
  std::thread user([&] {
    std::this_thread::sleep_for(delay);
    raised = std::chrono::steady_clock::now();
    flag.raise();
  });
  auto summary = train(run);
  user.join();
  EXPECT_FALSE(summary);
  EXPECT_EQ(summary ? ErrorKind::Bug : summary.error().kind, ErrorKind::Interrupted);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - raised).count();
}

TrainOptions endless(const std::vector<int> &boundaries) {
  return options(classifier(boundaries), "interrupted", 1'000'000'000);
}

/// Rank 1 sleeps for 0.4 s per task, and the others wait for it.
TrainOptions slowRank() {
  TrainOptions run = options(classifier({0, 2, 3, 4}), "waiting", 100);
  Hooks slow;
  slow.beforeTask = [](void *, const TaskEvent &event) {
    if (event.rank == 1 && schedule::isCompute(event.task.kind)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
    }
  };
  run.hooks = {slow};
  return run;
}

TEST(Interrupt, EndsARunAtAnyMoment) {
  for (const auto &boundaries : {std::vector<int>{0, 4}, {0, 1, 2, 3, 4}}) {
    for (int moment = 0; moment < 12; ++moment) {
      TrainOptions run = endless(boundaries);
      run.saveWeights = stagefile::temporaryFolder() + "interrupted.safetensors";
      secondsToStop(run, std::chrono::milliseconds(moment * 7));
      EXPECT_NE(access(run.saveWeights.c_str(), F_OK), 0);
    }
  }
}

TEST(Interrupt, EndsWaits) {
  secondsToStop(slowRank(), std::chrono::milliseconds(600));
}

TEST(InterruptTimes, ARunEndsSoon) {
  for (const auto &boundaries : {std::vector<int>{0, 4}, {0, 1, 2, 3, 4}}) {
    for (int moment : {0, 20, 60}) {
      EXPECT_LT(secondsToStop(endless(boundaries), std::chrono::milliseconds(moment)), 0.5);
    }
  }
  EXPECT_LT(secondsToStop(slowRank(), std::chrono::milliseconds(600)), 1); // the sleep itself, and a little
}

TEST(Interrupt, BeforeTheStart) {
  InterruptFlag flag;
  flag.raise();
  TrainOptions run = options(classifier({0, 2, 4}), "early", 1);
  run.interrupt = &flag;
  auto summary = train(run);
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().kind, ErrorKind::Interrupted);
}

} // namespace
