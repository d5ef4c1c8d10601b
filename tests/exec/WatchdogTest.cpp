#include "TestRun.h"

#include "runtime/comm/ThreadCommunicator.h"
#include "runtime/exec/Watchdog.h"

#include <atomic>
#include <gtest/gtest.h>
#include <stdexcept>
#include <thread>
#include <unistd.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

/// A task of one rank and step that does not end before it is told to.
struct Blocker {
  explicit Blocker(int rank) : rank(rank) {}
  /// Of those whose thread is left behind by the run: they are kept.
  static Blocker &kept(int rank) {
    static std::vector<std::unique_ptr<Blocker>> all;
    return *all.emplace_back(std::make_unique<Blocker>(rank));
  }
  Hooks hooks() {
    Hooks hooks;
    hooks.context = this;
    hooks.beforeTask = [](void *context, const TaskEvent &event) {
      auto *self = static_cast<Blocker *>(context);
      if (event.rank != self->rank || event.step != 2 || event.task.kind != schedule::TaskKind::Forward) {
        return;
      }
      while (!self->release) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    };
    return hooks;
  }
  const int rank;
  std::atomic<bool> release{false};
};

TEST(Watchdog, EndsTheRunAndNamesTheRankThatStandsStill) {
  for (const int stuck : {0, 1, 3}) {
    Blocker &blocker = Blocker::kept(stuck);
    TrainOptions run = options(classifier({0, 1, 2, 3, 4}), "stuck", 100);
    run.hooks = {blocker.hooks()};
    run.watchdogSeconds = 0.2;
    testing::internal::CaptureStderr();
    const auto begin = std::chrono::steady_clock::now();
    auto summary = train(run);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    const std::string lines = testing::internal::GetCapturedStderr();
    blocker.release = true;
    ASSERT_FALSE(summary);
    EXPECT_EQ(summary.error().kind, ErrorKind::Rank);
    EXPECT_EQ(summary.error().place, "rank " + std::to_string(stuck)) << summary.error().text();
    EXPECT_NE(summary.error().what.find("F"), std::string::npos);
    EXPECT_LT(taken.count(), 5);
    for (int rank = 0; rank < 4; ++rank) {
      EXPECT_NE(lines.find("watchdog: rank " + std::to_string(rank) + " is in " + std::to_string(rank)),
                std::string::npos)
          << lines;
    }
    EXPECT_NE(lines.find("rank " + std::to_string(stuck) + " is in " + std::to_string(stuck) +
                         "F0 of step 2, does not wait"),
              std::string::npos)
        << lines;
    EXPECT_NE(lines.find("waits for message"), std::string::npos) << lines;
  }
}

TEST(Watchdog, IsQuietWhileRanksMove) {
  TrainOptions run = options(classifier({0, 2, 4}), "slow", 3);
  run.taskSleepMilliseconds = 40;
  run.watchdogSeconds = 0.2; // a step takes 0.6 s, no task more than 0.08 s
  testing::internal::CaptureStderr();
  auto summary = train(run);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_TRUE(summary) << summary.error().text();
}

TEST(Watchdog, OffMeansOff) {
  Blocker blocker(1);
  TrainOptions run = options(classifier({0, 2, 4}), "off", 3);
  run.hooks = {blocker.hooks()};
  run.watchdogSeconds = 0;
  testing::internal::CaptureStderr();
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    blocker.release = true;
  });
  auto summary = train(run);
  later.join();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_TRUE(summary);
}

TEST(Watchdog, DoesNotHurryCallbacks) {
  TrainOptions run = options(classifier({0, 2, 4}), "callback", 3);
  run.watchdogSeconds = 0.2;
  run.onStep = [](const StepReport &) { std::this_thread::sleep_for(std::chrono::milliseconds(700)); };
  testing::internal::CaptureStderr();
  auto summary = train(run);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_TRUE(summary) << summary.error().text();

  EvaluateOptions evaluation;
  static_cast<EngineOptions &>(evaluation) = run;
  evaluation.onSamples = [](std::uint64_t done, std::uint64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(done < 20 ? 700 : 0));
  };
  auto score = evaluate(evaluation);
  EXPECT_TRUE(score) << score.error().text();
}

TEST(Watchdog, ACallbackMayThrow) {
  TrainOptions run = options(classifier({0, 2, 4}), "throws", 3);
  run.saveWeights = stagefile::temporaryFolder() + "throws.safetensors";
  run.onStep = [](const StepReport &report) {
    if (report.step == 2) {
      throw std::runtime_error("no more of this");
    }
  };
  auto summary = train(run);
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().kind, ErrorKind::Environment);
  EXPECT_NE(summary.error().what.find("no more of this"), std::string::npos) << summary.error().text();
  EXPECT_NE(access(run.saveWeights.c_str(), F_OK), 0);
}

/// What a watchdog with a patience of 0.3 s does in the given time to one rank that does not move.
struct Watched {
  int lines = 0;
  std::optional<Error> ended;
};
Watched watchOneRank(std::function<std::int64_t()> clock, int milliseconds) {
  ThreadGroup group(1);
  auto board = JobBoard::local(1);
  RankStatus status;
  status.begin(1, "0F0");
  std::mutex mutex;
  Watched result;
  Watchdog::Settings settings;
  settings.seconds = 0.3;
  settings.board = board->get();
  settings.clock = std::move(clock);
  settings.print = [&](const std::string &) {
    std::lock_guard lock(mutex);
    ++result.lines;
  };
  settings.end = [&](const Error &error) {
    std::lock_guard lock(mutex);
    result.ended = error;
  };
  Watchdog watchdog({{&status, &group.communicator(0)}}, settings);
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  std::lock_guard lock(mutex);
  return result;
}

TEST(Watchdog, TimesInWhichTheProcessIsStoppedDoNotCount) {
  const std::int64_t begin = monotonicNanoseconds();
  const Watched stopped = watchOneRank(
      [&] {
        const std::int64_t now = monotonicNanoseconds();
        return now - begin < 50'000'000 ? now : now + 3'600'000'000'000; // an hour of Ctrl-Z
      },
      100); // and then little time
  EXPECT_EQ(stopped.lines, 0);
  EXPECT_FALSE(stopped.ended) << stopped.ended->text();
  const Watched waiting = watchOneRank({}, 900);
  EXPECT_EQ(waiting.lines, 1);
  EXPECT_TRUE(waiting.ended);
}

struct Elsewhere {
  const char *name;
  int waitsFor; ///< what rank 2, in another process, waits for
  bool writes;  ///< whether its process still notes that
  const char *place, *says;
};

class Chain : public testing::TestWithParam<Elsewhere> {};

TEST_P(Chain, EndsAtTheRankThatStandsStill) {
  // Rank 0 waits for 1, 1 for 2; 2 and 3 are in other processes.
  ThreadGroup group(4);
  const std::string job = "test-" + std::to_string(::getpid());
  auto board = JobBoard::shared(4, job), other = JobBoard::shared(4, job);
  ASSERT_TRUE(board && other);
  (*board)->forgetName();
  (*other)->write(2, {monotonicNanoseconds(), GetParam().waitsFor});
  (*other)->write(3, {monotonicNanoseconds(), JobBoard::kNobody});
  std::atomic<bool> stop{false};
  std::thread elsewhere([&] {
    while (!stop) {
      const std::int64_t now = monotonicNanoseconds();
      if (GetParam().writes) {
        (*other)->write(2, {now, GetParam().waitsFor});
      }
      (*other)->write(3, {now, JobBoard::kNobody});
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  std::vector<RankStatus> statuses(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      statuses[rank].begin(7, rank ? "1F3" : "0B1");
      char byte = 0;
      auto request = group.communicator(rank).postReceive(rank + 1, 1 - rank, &byte, 1);
      ASSERT_TRUE(request);
      EXPECT_FALSE(group.communicator(rank).wait(*request));
    });
  }
  std::mutex mutex;
  std::vector<std::string> lines;
  std::optional<Error> ended;
  Watchdog::Settings settings;
  settings.seconds = 0.15;
  settings.board = board->get();
  settings.print = [&](const std::string &line) {
    std::lock_guard lock(mutex);
    lines.push_back(line);
  };
  settings.end = [&](const Error &error) {
    {
      std::lock_guard lock(mutex);
      ended = error;
    }
    group.communicator(0).abort(error);
  };
  {
    Watchdog watchdog({{&statuses[0], &group.communicator(0)}, {&statuses[1], &group.communicator(1)}},
                      settings);
    for (std::thread &thread : threads) {
      thread.join();
    }
  }
  stop = true;
  elsewhere.join();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->kind, ErrorKind::Rank);
  EXPECT_EQ(ended->place, GetParam().place);
  EXPECT_NE(ended->what.find(GetParam().says), std::string::npos) << ended->text();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("rank 0 is in 0B1 of step 7, waits for message 0 from rank 1 (tag 1), since 0."),
            std::string::npos)
      << lines[0];
  EXPECT_NE(lines[1].find("rank 1 is in 1F3 of step 7, waits for message 0 from rank 2 (tag 0), since 0."),
            std::string::npos)
      << lines[1];
}

INSTANTIATE_TEST_SUITE_P(
    Cases, Chain,
    testing::Values(Elsewhere{"Stopped", JobBoard::kNobody, false, "rank 2", "its process does not answer"},
                    Elsewhere{"StoppedWhileItWaited", 3, false, "rank 2", "its process does not answer"},
                    Elsewhere{"Computes", JobBoard::kNobody, true, "rank 2", "in another process"},
                    Elsewhere{"Waits", 3, true, "rank 3", "in another process"},
                    Elsewhere{"Circle", 0, true, "rank 0", "in 0B1 of step 7"}),
    [](const testing::TestParamInfo<Elsewhere> &info) { return std::string(info.param.name); });

} // namespace
