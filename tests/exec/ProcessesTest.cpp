// Ranks as processes under MPI: the same bits as threads, one trace, one file of weights, errors of one rank.
#include "TestRun.h"

#include "runtime/launch/ProcessLauncher.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

struct Outcome {
  Result<void> launched;
  std::string weights, state;
  std::size_t losses = 0;
  double loss = 0;
  std::uint64_t planned = 0, allocated = 0, allocations = 0;
};

struct Job {
  std::string stage, data = "synthetic", trace = "-", save = "-", init = "-", isa = "best", fault = "-";
  int ranks = 1, steps = 20;

  Outcome run() const {
    Outcome outcome;
    testing::internal::CaptureStdout();
    outcome.launched = launchProcesses(
        {ranks, {RANK_PROGRAM, stage, std::to_string(steps), data, trace, save, init, isa, fault}});
    std::istringstream out(testing::internal::GetCapturedStdout());
    out >> outcome.weights >> outcome.state >> outcome.losses >> outcome.loss >> outcome.planned >>
        outcome.allocated >> outcome.allocations;
    return outcome;
  }
};

std::string bytesOf(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// Three ranks, one of which has this fault.
Job withFault(const std::string &fault) {
  Job job{.stage = options(classifier({0, 2, 3, 4}), "fault").stage};
  job.ranks = 3;
  job.fault = fault;
  job.save = stagefile::temporaryFolder() + "fault.safetensors";
  return job;
}

/// Three ranks; the last one meets a class that the model does not have.
Job withBadLabels() {
  const TrainOptions run = options(classifier({0, 2, 3, 4}), "labels", 5);
  const std::string folder = stagefile::temporaryFolder() + "bad-labels";
  std::filesystem::create_directories(folder);
  const std::string header{0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 5, 0, 0, 0, 7};
  std::ofstream(folder + "/train-images-idx3-ubyte") << header << std::string(700, 'x');
  std::string labels{0, 0, 8, 1, 0, 0, 0, 20};
  labels += std::string(19, '\1') + '\12';
  std::ofstream(folder + "/train-labels-idx1-ubyte") << labels;
  Job job{.stage = run.stage, .data = folder};
  job.ranks = 3;
  job.save = folder + "/w.safetensors";
  return job;
}

TEST(Processes, GiveTheBitsOfThreads) {
  for (const Plan &plan : {Plan{{0, 4}, "1f1b"}, Plan{{0, 2, 4}, "gpipe"}, Plan{{0, 2, 3, 4}, "zb-h1"}}) {
    TrainOptions threads = options(classifier(plan.boundaries, plan.schedule, 5), "processes", 20);
    threads.saveWeights = stagefile::temporaryFolder() + "threads.safetensors";
    auto expected = train(threads);
    ASSERT_TRUE(expected);
    Job job{.stage = threads.stage};
    job.ranks = static_cast<int>(plan.boundaries.size()) - 1;
    job.save = stagefile::temporaryFolder() + "processes.safetensors";
    job.trace = stagefile::temporaryFolder() + "processes.jsonl";
    const Outcome outcome = job.run();
    ASSERT_TRUE(outcome.launched) << outcome.launched.error().text();
    EXPECT_EQ(outcome.weights, expected->weightsSha256);
    EXPECT_EQ(outcome.state, expected->stateSha256);
    EXPECT_EQ(outcome.losses, 20u);
    EXPECT_EQ(outcome.loss, expected->loss);
    EXPECT_EQ(outcome.planned, expected->plannedBytes);
    EXPECT_EQ(outcome.allocated, expected->plannedBytes);
    EXPECT_EQ(outcome.allocations, 0u);
    EXPECT_EQ(bytesOf(job.save), bytesOf(threads.saveWeights));
    // One trace with the tasks of all ranks.
    auto executable = Executable::load(job.stage);
    ASSERT_TRUE(executable);
    std::map<int, std::vector<std::string>> tasks;
    std::ifstream trace(job.trace);
    for (std::string line; std::getline(trace, line);) {
      const auto entry = nlohmann::json::parse(line);
      if (entry.contains("task") && entry.at("step") == 7) {
        tasks[entry.at("rank")].push_back(entry.at("task"));
      }
    }
    ASSERT_EQ(tasks.size(), static_cast<std::size_t>(job.ranks));
    for (const auto &[rank, list] : tasks) {
      std::vector<std::string> planned;
      for (const schedule::Task &task : executable->trainSchedule().ranks[rank]) {
        planned.push_back(schedule::text(task));
      }
      EXPECT_EQ(list, planned) << rank;
    }
  }
}

TEST(Processes, AnErrorOfOneRankIsTheJobs) {
  const Job job = withBadLabels();
  const Outcome outcome = job.run();
  ASSERT_FALSE(outcome.launched);
  EXPECT_EQ(outcome.launched.error().kind, ErrorKind::User);
  EXPECT_EQ(outcome.launched.error().place, job.data + "/train-labels-idx1-ubyte at sample 19");
  EXPECT_FALSE(std::filesystem::exists(job.save));
}

TEST(Processes, ALossThatIsNotFiniteEndsTheJobInGoodOrder) {
  stagefile::Classifier wild = classifier({0, 2, 4});
  wild.optimizer = "sgd";
  wild.gradientClipping = 0;
  wild.learningRate = 1e30;
  Job job{.stage = options(wild, "wild").stage};
  job.ranks = 2;
  const Outcome outcome = job.run();
  ASSERT_FALSE(outcome.launched);
  EXPECT_EQ(outcome.launched.error().kind, ErrorKind::User);
  EXPECT_NE(outcome.launched.error().what.find("computed on rank 1"), std::string::npos)
      << outcome.launched.error().text();
}

TEST(Processes, WeightsThatAreNotFiniteAreNotSaved) {
  stagefile::Classifier wild = classifier({0, 2, 4});
  wild.optimizer = "sgd";
  wild.gradientClipping = 0;
  wild.learningRate = 1e39;
  Job job{.stage = options(wild, "overflow").stage};
  job.ranks = 2;
  job.steps = 1;
  job.save = stagefile::temporaryFolder() + "overflow.safetensors";
  const Outcome outcome = job.run();
  ASSERT_FALSE(outcome.launched);
  EXPECT_EQ(outcome.launched.error().kind, ErrorKind::User);
  EXPECT_NE(outcome.launched.error().what.find("not finite"), std::string::npos)
      << outcome.launched.error().text();
  EXPECT_FALSE(std::filesystem::exists(job.save));
}

TEST(Processes, AStoppedRankIsNamed) {
  for (const int victim : {0, 2}) { // at either end of the chain of those who wait
    const Job job = withFault("stop:" + std::to_string(victim));
    const Outcome outcome = job.run();
    ASSERT_FALSE(outcome.launched);
    EXPECT_EQ(outcome.launched.error().kind, ErrorKind::Rank);
    EXPECT_EQ(outcome.launched.error().place, "rank " + std::to_string(victim))
        << outcome.launched.error().text();
    EXPECT_NE(outcome.launched.error().what.find("does not answer"), std::string::npos)
        << outcome.launched.error().text();
    EXPECT_FALSE(std::filesystem::exists(job.save));
  }
}

TEST(Processes, ASlowRankDoesNotEndTheRun) {
  // Ranks wait for the slow one several times longer than the watchdog's patience, while it moves.
  for (const char *fault : {"slow:0", "slow:1", "callback:0"}) {
    Job job{.stage = options(classifier({0, 2, 4}, "1f1b", 2), "slow").stage};
    job.ranks = 2;
    job.steps = 1;
    job.fault = fault;
    const Outcome outcome = job.run();
    EXPECT_TRUE(outcome.launched) << fault << ": " << outcome.launched.error().text();
    EXPECT_EQ(outcome.losses, 1u);
  }
}

TEST(Processes, AnExceptionOnOneRankIsTheJobs) {
  for (const int thrower : {0, 2}) {
    const Job job = withFault("throw:" + std::to_string(thrower));
    const Outcome outcome = job.run();
    ASSERT_FALSE(outcome.launched);
    EXPECT_EQ(outcome.launched.error().kind, ErrorKind::Environment) << outcome.launched.error().text();
    EXPECT_EQ(outcome.launched.error().place, "memory");
  }
}

TEST(ProcessesTimes, AFaultOfOneRankEndsTheJobSoon) {
  const auto seconds = [](const Job &job) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_FALSE(job.run().launched);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  EXPECT_LT(seconds(withBadLabels()), 5);
  EXPECT_LT(seconds(withFault("throw:0")), 5);
  EXPECT_LT(seconds(withFault("throw:2")), 5);
  EXPECT_LT(seconds(withFault("stop:2")), 10); // twice the watchdog's patience
}

TEST(Processes, WrongNumberOfProcesses) {
  Job job{.stage = options(classifier({0, 2, 4}), "number").stage};
  job.ranks = 3;
  const Outcome outcome = job.run();
  ASSERT_FALSE(outcome.launched);
  EXPECT_EQ(outcome.launched.error().kind, ErrorKind::User);
  EXPECT_NE(outcome.launched.error().what.find("the file has 2 ranks, the job has 3 processes"),
            std::string::npos);
}

} // namespace
