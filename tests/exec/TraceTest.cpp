// Traces: what they say.
#include "TestRun.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

struct Interval {
  std::int64_t begin = 0, end = 0;
};
struct Trace {
  std::map<std::uint64_t, std::map<int, std::vector<std::pair<std::string, Interval>>>> tasks; // step, rank
  std::map<int, std::vector<Interval>> busy;                                                   // worker
};

Trace read(const std::string &path) {
  Trace trace;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto entry = nlohmann::json::parse(line);
    const Interval interval{entry.at("begin"), entry.at("end")};
    EXPECT_LE(interval.begin, interval.end);
    if (entry.contains("task")) {
      trace.tasks[entry.at("step")][entry.at("rank")].push_back({entry.at("task"), interval});
    } else {
      EXPECT_EQ(entry.at("process"), 0);
      trace.busy[entry.at("worker")].push_back(interval);
    }
  }
  return trace;
}

std::int64_t overlap(const std::vector<Interval> &a, const std::vector<Interval> &b) {
  std::int64_t total = 0;
  for (const Interval &x : a) {
    for (const Interval &y : b) {
      total += std::max<std::int64_t>(0, std::min(x.end, y.end) - std::max(x.begin, y.begin));
    }
  }
  return total;
}

TEST(Trace, OfARefusedRunLeavesTheOldOneAlone) {
  TrainOptions run = options(classifier({0, 2, 4}), "refused", 3);
  run.trace = stagefile::temporaryFolder() + "old.jsonl";
  const std::string old = "what was there before\n";
  const std::function<void(TrainOptions &)> mistakes[] = {
      [](TrainOptions &mistake) { mistake.data = "/no/such/folder"; },
      [](TrainOptions &mistake) { mistake.init = "/no/such/file"; },
      [](TrainOptions &mistake) { mistake.sampleOrder = "/no/such/file"; },
      [](TrainOptions &mistake) { mistake.saveWeights = "/no/such/folder/w.safetensors"; }};
  for (const auto &make : mistakes) {
    TrainOptions mistake = run;
    make(mistake);
    std::ofstream(run.trace) << old;
    EXPECT_FALSE(train(mistake));
    std::ifstream file(run.trace);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), old);
  }
  std::filesystem::remove(run.trace);
  run.data = "/no/such/folder";
  EXPECT_FALSE(train(run));
  EXPECT_FALSE(std::filesystem::exists(run.trace));
}

TEST(Trace, ThatCannotBeWrittenIsAnError) {
  TrainOptions run = options(classifier({0, 2, 4}), "unwritable", 3);
  run.saveWeights = stagefile::temporaryFolder() + "unwritable.safetensors";
  for (const std::string &path : {std::string("/no/such/folder/trace"), stagefile::temporaryFolder()}) {
    run.trace = path;
    auto refused = train(run);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::User);
    EXPECT_EQ(refused.error().place, path);
  }
  run.trace = "/dev/full"; // found when it is written: before the weights get their name
  auto full = train(run);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().kind, ErrorKind::Environment);
  EXPECT_FALSE(std::filesystem::exists(run.saveWeights));
}

TEST(Trace, HoldsEveryTaskInOrder) {
  TrainOptions run = options(classifier({0, 2, 4}, "zb-h1", 5), "traced", 3);
  run.trace = stagefile::temporaryFolder() + "tasks.jsonl";
  std::ofstream(run.trace) << "what was there before\n";
  ASSERT_TRUE(train(run));
  const Trace trace = read(run.trace);
  auto executable = Executable::load(run.stage);
  ASSERT_TRUE(executable);
  ASSERT_EQ(trace.tasks.size(), 3u);
  for (const auto &[step, ranks] : trace.tasks) {
    ASSERT_EQ(ranks.size(), 2u);
    for (const auto &[rank, tasks] : ranks) {
      const auto &planned = executable->trainSchedule().ranks[rank];
      ASSERT_EQ(tasks.size(), planned.size());
      for (std::size_t i = 0; i < planned.size(); ++i) {
        EXPECT_EQ(tasks[i].first, schedule::text(planned[i]));
        if (i > 0) {
          EXPECT_GE(tasks[i].second.begin, tasks[i - 1].second.end);
        }
      }
    }
  }
}

TEST(Trace, ShowsHowManyWorkersAreBusy) {
  stagefile::Classifier big = classifier({0, 2, 4}, "1f1b", 8);
  big.hidden = 600;
  big.microBatchSize = 32;
  TrainOptions run = options(big, "busy", 20);
  run.trace = stagefile::temporaryFolder() + "busy.jsonl";
  run.threads = 2;
  ASSERT_TRUE(train(run));
  Trace trace = read(run.trace);
  ASSERT_EQ(trace.busy.size(), 2u);
  EXPECT_GT(overlap(trace.busy[0], trace.busy[1]), 0);
  run.threads = 1;
  ASSERT_TRUE(train(run));
  trace = read(run.trace);
  ASSERT_EQ(trace.busy.size(), 1u);
  for (std::size_t i = 1; i < trace.busy[0].size(); ++i) {
    EXPECT_GE(trace.busy[0][i].begin, trace.busy[0][i - 1].end);
  }
}

} // namespace
