#include "TestRun.h"

#include <gtest/gtest.h>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

double secondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(Interrupt, EndsARunAtAnyMoment) {
  for (const auto &boundaries : {std::vector<int>{0, 4}, {0, 1, 2, 3, 4}}) {
    for (int moment = 0; moment < 12; ++moment) {
      InterruptFlag flag;
      TrainOptions run = options(classifier(boundaries), "interrupted", 1'000'000'000);
      run.interrupt = &flag;
      run.saveWeights = stagefile::temporaryFolder() + "interrupted.safetensors";
      std::chrono::steady_clock::time_point raised;
      std::thread user([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(moment * 7));
        raised = std::chrono::steady_clock::now();
        flag.raise();
      });
      auto summary = train(run);
      user.join();
      ASSERT_FALSE(summary);
      EXPECT_EQ(summary.error().kind, ErrorKind::Interrupted) << summary.error().text();
      EXPECT_LT(secondsSince(raised), 1.0);
      EXPECT_NE(access(run.saveWeights.c_str(), F_OK), 0);
    }
  }
}

TEST(Interrupt, EndsWaits) {
  // Rank 1 sleeps for 0.4 s per task; the others wait for it when the flag goes up.
  InterruptFlag flag;
  TrainOptions run = options(classifier({0, 2, 3, 4}), "waiting", 100);
  run.interrupt = &flag;
  Hooks slow;
  slow.beforeTask = [](void *, const TaskEvent &event) {
    if (event.rank == 1 && schedule::isCompute(event.task.kind)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
    }
  };
  run.hooks = {slow};
  std::chrono::steady_clock::time_point raised;
  std::thread user([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    raised = std::chrono::steady_clock::now();
    flag.raise();
  });
  auto summary = train(run);
  user.join();
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().kind, ErrorKind::Interrupted);
  EXPECT_LT(secondsSince(raised), 1.0); // the sleep itself, and a little
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
