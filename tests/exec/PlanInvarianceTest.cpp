// The plan does not change the result, and what ran is what was planned.
#include "TestRun.h"

#include "runtime/device/AllocationCounter.h"

#include <gtest/gtest.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

struct Bits {
  std::string weights, state;
  std::vector<double> losses;
  bool operator==(const Bits &) const = default;
};

Bits bitsOf(const TrainOptions &options) {
  auto summary = train(options);
  if (!summary) {
    ADD_FAILURE() << summary.error().text();
    return {};
  }
  EXPECT_EQ(summary->plannedBytes, summary->allocatedBytes);
  return {summary->weightsSha256, summary->stateSha256, summary->losses};
}

/// One stage, one thread, portable kernels.
const Bits &reference() {
  static const Bits bits = [] {
    TrainOptions run = options(classifier({0, 4}, "gpipe", 5), "reference", 20);
    run.threads = 1;
    run.isa = kernels::Isa::Portable;
    return bitsOf(run);
  }();
  return bits;
}

class EveryPlan : public testing::TestWithParam<Plan> {};

TEST_P(EveryPlan, GivesTheSameBits) {
  TrainOptions run = options(classifier(GetParam().boundaries, GetParam().schedule, 5), "plan", 20);
  run.allocationCount = allocationCount;
  for (const int threads : {1, 2, 3}) {
    run.threads = threads;
    EXPECT_EQ(bitsOf(run), reference()) << threads << " threads";
  }
  run.poison = true;
  EXPECT_EQ(bitsOf(run), reference()) << "dead values are NaN";
  run.poison = false;
  run.isolateRanks = true;
  EXPECT_EQ(bitsOf(run), reference()) << "isolated ranks";
  for (const kernels::Isa isa : {kernels::Isa::Avx2, kernels::Isa::Avx512}) {
    if (kernels::isSupported(isa)) {
      run.isa = isa;
      EXPECT_EQ(bitsOf(run), reference()) << kernels::name(isa);
    }
  }
}

TEST_P(EveryPlan, RunsExactlyItsTasks) {
  TrainOptions run = options(classifier(GetParam().boundaries, GetParam().schedule, 5), "tasks", 3);
  auto executable = Executable::load(run.stage);
  ASSERT_TRUE(executable);
  Recorder recorder;
  run.hooks = {recorder.hooks()};
  ASSERT_TRUE(train(run));
  ASSERT_EQ(recorder.training.size(), 3u);
  std::size_t tasks = 0;
  for (std::uint64_t step = 1; step <= 3; ++step) {
    EXPECT_EQ(recorder.training[step], executable->trainSchedule().ranks) << step;
    for (const auto &rank : recorder.training[step]) {
      tasks += rank.size();
    }
  }
  EXPECT_EQ(recorder.ended, static_cast<int>(tasks));
  // Kernels: per step what the programs hold, those of micro-batches once per micro-batch.
  int kernels = 0;
  for (int rank = 0; rank < executable->rankCount(); ++rank) {
    for (const executable::Program *program : *executable->rank(rank).programs()) {
      const bool perMicroBatch = program->kind() == executable::ProgramKind::Forward ||
                                 program->kind() == executable::ProgramKind::BackwardInput ||
                                 program->kind() == executable::ProgramKind::BackwardWeight;
      const int times = program->kind() == executable::ProgramKind::Evaluate ? 0 : perMicroBatch ? 5 : 1;
      kernels += 3 * times * static_cast<int>(program->commands()->size());
    }
  }
  EXPECT_EQ(recorder.kernels, kernels);

  Recorder evaluationRecorder;
  EvaluateOptions evaluation;
  evaluation.stage = run.stage;
  evaluation.data = "synthetic"; // 8 passes
  evaluation.threads = 2;
  evaluation.hooks = {evaluationRecorder.hooks()};
  ASSERT_TRUE(evaluate(evaluation));
  ASSERT_EQ(evaluationRecorder.evaluation.size(), 8u);
  EXPECT_TRUE(evaluationRecorder.training.empty());
  for (const auto &[pass, ranks] : evaluationRecorder.evaluation) {
    EXPECT_EQ(ranks, executable->evaluateSchedule().ranks) << pass;
  }
}

INSTANTIATE_TEST_SUITE_P(Plans, EveryPlan, testing::ValuesIn(plans()),
                         [](const testing::TestParamInfo<Plan> &info) { return info.param.name(); });

TEST(PlanInvariance, WhatMustChangeTheBitsDoes) {
  const Bits &same = reference();
  EXPECT_EQ(same.losses.size(), 20u);
  const auto changed = [](const std::function<void(stagefile::Classifier &)> &change) {
    stagefile::Classifier other = classifier({0, 4}, "gpipe", 5);
    change(other);
    return bitsOf(options(other, "other", 20));
  };
  for (const Bits &other :
       {changed([](auto &c) { c.seed = 4; }), changed([](auto &c) { c.shuffle = false; }),
        changed([](auto &c) { c.learningRate = 0.011; }), changed([](auto &c) { c.gradientClipping = 0; }),
        changed([](auto &c) { c.optimizer = "sgd"; })}) {
    EXPECT_NE(other.weights, same.weights);
    EXPECT_NE(other.state, same.state);
    EXPECT_NE(other.losses, same.losses);
  }
}

TEST(PlanInvariance, EvaluationDoesNotDependOnThePlan) {
  std::vector<double> losses, accuracies;
  for (const Plan &plan : plans()) {
    EvaluateOptions evaluation;
    evaluation.stage = options(classifier(plan.boundaries, plan.schedule, 5), "evaluation").stage;
    evaluation.data = "synthetic";
    evaluation.threads = 2;
    for (const bool poison : {false, true}) {
      evaluation.poison = poison;
      auto summary = evaluate(evaluation);
      ASSERT_TRUE(summary) << summary.error().text();
      losses.push_back(*summary->loss);
      accuracies.push_back(*summary->accuracy);
    }
  }
  EXPECT_EQ(std::set<double>(losses.begin(), losses.end()).size(), 1u);
  EXPECT_EQ(std::set<double>(accuracies.begin(), accuracies.end()).size(), 1u);
}

TEST(PlanInvariance, SteadyStepsDoNotAllocate) {
  for (const Plan &plan : plans()) {
    TrainOptions run = options(classifier(plan.boundaries, plan.schedule, 5), "steady", 40);
    run.allocationCount = allocationCount;
    run.trace = stagefile::temporaryFolder() + "steady.jsonl";
    auto summary = train(run);
    ASSERT_TRUE(summary);
    EXPECT_EQ(summary->allocationsAfterWarmup, 0u) << plan.name();
  }
}

} // namespace
