// One rank of a job of processes, for ProcessesTest: trains and, on rank 0, prints what came out.
//   exec_rank_program STAGE STEPS DATA TRACE|- SAVE|- INIT|- ISA STOPPED_RANK|-
// The stopped rank sends itself SIGSTOP in its tenth step.
#include "runtime/device/AllocationCounter.h"
#include "runtime/launch/ProcessLauncher.h"
#include "runtime/train/Engine.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace stagewright;
using namespace stagewright::runtime;

int main(int count, char **arguments) {
  if (count != 9) {
    return 70;
  }
  joinJob();
  const auto optional = [&](int i) {
    return std::strcmp(arguments[i], "-") ? std::string(arguments[i]) : std::string();
  };
  TrainOptions options;
  options.stage = arguments[1];
  options.steps = std::strtoull(arguments[2], nullptr, 10);
  options.data = arguments[3];
  options.trace = optional(4);
  options.saveWeights = optional(5);
  options.init = optional(6);
  options.isa = std::strcmp(arguments[7], "portable") ? kernels::bestIsa() : kernels::Isa::Portable;
  options.ranks = RankMode::Processes;
  options.threads = 1;
  options.allocationCount = allocationCount;
  options.watchdogSeconds = 1;
  int stopped = optional(8).empty() ? -1 : std::atoi(arguments[8]);
  Hooks stop;
  stop.context = &stopped;
  stop.beforeTask = [](void *context, const TaskEvent &event) {
    if (event.rank == *static_cast<int *>(context) && event.step == 10 && event.position == 1) {
      std::raise(SIGSTOP);
    }
  };
  options.hooks = {stop};
  auto summary = train(options);
  if (!summary) {
    (void)reportError(summary.error());
    return static_cast<int>(summary.error().kind);
  }
  if (summary->rank == 0) {
    std::printf("%s %s %zu %.17g %llu %llu %llu\n", summary->weightsSha256.c_str(),
                summary->stateSha256.c_str(), summary->losses.size(), summary->loss,
                static_cast<unsigned long long>(summary->plannedBytes),
                static_cast<unsigned long long>(summary->allocatedBytes),
                static_cast<unsigned long long>(*summary->allocationsAfterWarmup));
  }
  return 0;
}
