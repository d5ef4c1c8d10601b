// One rank of a job of processes, for ProcessesTest: trains and, on rank 0, prints what came out.
//   exec_rank_program STAGE STEPS DATA TRACE|- SAVE|- INIT|- ISA FAULT|-
// FAULT is one of
//   stop:R      rank R sends itself SIGSTOP in its tenth step
//   slow:R      each kernel of rank R takes 0.1 s, which is under the watchdog's 0.25 s
//   callback:R  rank 0's callback takes 0.8 s after the first step (R is 0)
//   poison:0    values become NaN when they end
//   digest:0    every rank prints "statistics RANK DIGEST" of all running statistics that it has written
//   throw:R     an exception leaves the preparation of rank R; nothing is trained
#include "runtime/device/AllocationCounter.h"
#include "runtime/launch/ProcessLauncher.h"
#include "runtime/train/Engine.h"
#include "runtime/train/Session.h"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

struct Fault {
  std::string kind;
  int rank = -1;
  std::uint64_t digest = 14695981039346656037u; ///< FNV-1a
};

/// Of running_mean, running_var and num_batches_tracked behind each batch_norm_update.
void addStatistics(void *context, const KernelEvent &event) {
  auto &fault = *static_cast<Fault *>(context);
  for (std::size_t i = 2; fault.kind == "digest" && event.kernel->name == "batch_norm_update" && i < 5; ++i) {
    const auto &operand = event.operands[i];
    const auto *bytes = static_cast<const unsigned char *>(operand.data);
    const std::size_t size = static_cast<std::size_t>(operand.elements) * catalogue::byteSize(operand.dtype);
    for (std::size_t k = 0; k < size; ++k) {
      fault.digest = (fault.digest ^ bytes[k]) * 1099511628211u;
    }
  }
}

Hooks faultHooks(Fault &fault) {
  Hooks hooks;
  hooks.context = &fault;
  hooks.beforeTask = [](void *context, const TaskEvent &event) {
    const auto &fault = *static_cast<Fault *>(context);
    if (fault.kind == "stop" && event.rank == fault.rank && event.step == 10 && event.position == 1) {
      std::raise(SIGSTOP);
    }
  };
  hooks.beforeKernel = [](void *context, const KernelEvent &event) {
    const auto &fault = *static_cast<Fault *>(context);
    if (fault.kind == "slow" && event.rank == fault.rank) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  };
  hooks.afterKernel = addStatistics;
  return hooks;
}

int failed(const Error &error) {
  (void)reportError(error);
  return static_cast<int>(error.kind);
}

} // namespace

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
  Fault fault;
  if (const std::string text = optional(8); !text.empty()) {
    fault = {text.substr(0, text.find(':')), std::atoi(text.c_str() + text.find(':') + 1)};
  }
  options.watchdogSeconds = fault.kind == "slow" || fault.kind == "callback" ? 0.25 : 1;
  options.hooks = {faultHooks(fault)};
  options.poison = fault.kind == "poison";
  if (fault.kind == "callback") {
    options.onStep = [](const StepReport &report) {
      std::this_thread::sleep_for(std::chrono::milliseconds(report.step == 1 ? 800 : 0));
    };
  }
  if (fault.kind == "throw") {
    auto session =
        Session::open(options, Split::Train, Session::Replicas::All, [&](Session &own) -> Result<void> {
          return own.processRank() == fault.rank ? throw std::bad_alloc() : Result<void>();
        });
    return session ? 0 : failed(session.error());
  }
  auto summary = train(options);
  if (!summary) {
    return failed(summary.error());
  }
  if (fault.kind == "digest") {
    std::printf("statistics %d %llx\n", summary->rank, static_cast<unsigned long long>(fault.digest));
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
