#include "TestRun.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <unistd.h>

namespace stagewright::testrun {

stagefile::Classifier classifier(std::vector<int> boundaries, const std::string &schedule, int microBatches) {
  stagefile::Classifier result;
  result.boundaries = std::move(boundaries);
  result.schedule = schedule;
  result.microBatchSize = 3;
  result.microBatches = microBatches;
  return result;
}

runtime::TrainOptions options(const stagefile::Classifier &classifier, const std::string &name,
                              std::uint64_t steps) {
  runtime::TrainOptions result;
  result.stage = stagefile::write(stagefile::temporaryFolder() + name + ".stage", classifier);
  result.data = "synthetic";
  result.steps = steps;
  result.threads = 2;
  return result;
}

runtime::Hooks Recorder::hooks() {
  runtime::Hooks hooks;
  hooks.context = this;
  hooks.beforeTask = [](void *context, const runtime::TaskEvent &event) {
    auto *self = static_cast<Recorder *>(context);
    std::lock_guard lock(self->mutex);
    auto &ranks = (event.training ? self->training : self->evaluation)[event.step];
    if (ranks.size() <= static_cast<std::size_t>(event.rank)) {
      ranks.resize(static_cast<std::size_t>(event.rank) + 1);
    }
    EXPECT_EQ(event.position, static_cast<int>(ranks[event.rank].size()));
    EXPECT_EQ(event.text, schedule::text(event.task));
    ranks[event.rank].push_back(event.task);
  };
  hooks.afterTask = [](void *context, const runtime::TaskEvent &) {
    auto *self = static_cast<Recorder *>(context);
    std::lock_guard lock(self->mutex);
    ++self->ended;
  };
  hooks.beforeKernel = [](void *context, const runtime::KernelEvent &event) {
    auto *self = static_cast<Recorder *>(context);
    EXPECT_NE(event.kernel, nullptr);
    std::lock_guard lock(self->mutex);
    ++self->kernels;
  };
  return hooks;
}

std::string Plan::name() const {
  std::string text = schedule;
  std::replace(text.begin(), text.end(), '-', '_');
  for (const int boundary : boundaries) {
    text += "_" + std::to_string(boundary);
  }
  return text;
}

const std::vector<Plan> &plans() {
  static const std::vector<Plan> all = [] {
    std::vector<Plan> result;
    for (const auto &boundaries : std::vector<std::vector<int>>{
             {0, 4}, {0, 2, 4}, {0, 3, 4}, {0, 2, 3, 4}, {0, 1, 3, 4}, {0, 1, 2, 3, 4}}) {
      for (const char *schedule : {"gpipe", "1f1b", "zb-h1"}) {
        result.push_back({boundaries, schedule});
      }
    }
    return result;
  }();
  return all;
}

} // namespace stagewright::testrun
