#include "EngineCommand.h"

#include "Program.h"

#include "runtime/device/AllocationCounter.h"
#include "runtime/device/CudaPlugin.h"
#include "runtime/executable/Executable.h"
#include "runtime/launch/ProcessLauncher.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <unistd.h>

namespace stagewright::program {

static constexpr const char *kTaskSleep = "STAGEWRIGHT_TEST_TASK_SLEEP_MS";

static runtime::InterruptFlag interruptFlag;

static void interrupt(int) {
  interruptFlag.raise();
}

void addEngineOptions(CLI::App &command, runtime::EngineOptions &options, EngineFlags &flags) {
  command.add_option("FILE", options.stage, "the staged executable")->option_text("REQUIRED")->required();
  command.add_option("--data", options.data, "folder or file of samples (docs/model.md, Data), or synthetic")
      ->option_text("DIR REQUIRED")
      ->required();
  command.add_option("--ranks", flags.ranks, "threads (default), or processes: one MPI process per rank")
      ->option_text("MODE")
      ->check(CLI::IsMember({"threads", "processes"}));
  command
      .add_option("--target", options.target,
                  "host (default), or cuda: on GPUs, from a file that was compiled for them")
      ->option_text("TARGET")
      ->check(CLI::IsMember({"host", "cuda"}));
  command
      .add_option("--threads", options.threads,
                  "threads that compute, in each process (default: its share of the cores)")
      ->option_text("N")
      ->check(kFromOne);
  command
      .add_option("--init", options.init,
                  "weights to begin with: safetensors, or a Hugging Face folder (default: new ones)")
      ->option_text("FILE|DIR");
  command.add_option("--trace", options.trace, "write when every task ran, as JSON lines")
      ->option_text("FILE");
  command
      .add_option("--isa", flags.isa,
                  "instruction set: auto (default), avx2 or portable; the bits are the same")
      ->option_text("NAME")
      ->check(CLI::IsMember({"auto", "avx2", "portable"}));
  command.add_flag("--isolate-ranks", options.isolateRanks, "a core of its own for each rank, for measuring");
  command
      .add_option("--watchdog", options.watchdogSeconds,
                  "when nothing moves for so long say where each rank is, after as long again give up "
                  "(default 60; 0: never)")
      ->option_text("SECONDS")
      ->check(CLI::Range(0.0, 1e6));
  command.add_flag("--json", flags.json, "end with one line of JSON on stdout");
}

/// argv, as the kernel keeps it, with the program's own path in front.
static std::vector<std::string> ownCommand() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> command;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\0', begin);
    command.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  command[0] = programPath();
  return command;
}

/// The mode of a test that measures the order of tasks: they sleep instead of computing.
static Result<void> takeTaskSleep(runtime::EngineOptions &options, const EngineFlags &flags) {
  const char *milliseconds = std::getenv(kTaskSleep);
  if (!milliseconds) {
    return {};
  }
  if (flags.saves) {
    return userError(kTaskSleep, "tasks sleep instead of computing, so that there are no weights to save",
                     "unset the variable, or leave --save-weights out");
  }
  options.taskSleepMilliseconds = std::atoi(milliseconds);
  if (!runtime::isRankProcess()) {
    std::fprintf(stderr, "stagewright: %s is set: tasks sleep instead of computing\n", kTaskSleep);
  }
  return {};
}

Result<void> runRanks(runtime::EngineOptions &options, const EngineFlags &flags,
                      const std::function<Result<void>()> &body) {
  if (Result<void> taken = takeTaskSleep(options, flags); !taken) {
    return taken;
  }
  if (flags.ranks == "processes") {
    if (!runtime::isRankProcess()) {
      // Proved here already, so that a damaged file is one message and no job.
      Result<runtime::Executable> plan = runtime::Executable::load(options.stage, options.target);
      if (!plan) {
        return plan.takeError();
      }
      const runtime::Mesh mesh = plan->mesh();
      const int evaluating = mesh.pipeline * mesh.tensor; // one replica
      return runtime::launchProcesses({flags.trains ? mesh.size() : evaluating, ownCommand()});
    }
    runtime::joinJob();
    options.ranks = runtime::RankMode::Processes;
  }
  if (flags.isa != "auto") {
    options.isa = flags.isa == "avx2" ? kernels::Isa::Avx2 : kernels::Isa::Portable;
  }
  options.openDevice = [](int rank, int ranks) { return runtime::openCuda(moduleFolders(), rank, ranks); };
  options.interrupt = &interruptFlag;
  options.allocationCount = runtime::allocationCount;
  for (int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, interrupt);
  }
  return body();
}

bool mayDrawProgress() {
  return runtime::isRankProcess() ? runtime::launcherHasTerminal() : isatty(STDERR_FILENO) == 1;
}

} // namespace stagewright::program
