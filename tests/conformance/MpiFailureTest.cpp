// A rank that stops or dies ends the whole job, soon, with a message that names it and with its exit code.
#include "runtime/device/Futex.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

using namespace stagewright::runtime;

namespace {

struct Outcome {
  int exitCode = -1;
  std::string output;
  double seconds = 0; ///< from the moment of the failure
};

Outcome runVictims(const std::string &mode, const std::string &mark) {
  const std::string command = std::string(MPIRUN) + " -n 3 --oversubscribe --bind-to none " + VICTIM + " " +
                              mode + " " + mark + " 2>&1";
  Outcome outcome;
  std::FILE *pipe = popen(command.c_str(), "r");
  char buffer[4096];
  for (std::size_t count; (count = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    outcome.output.append(buffer, count);
  }
  const int status = pclose(pipe);
  outcome.exitCode = WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
  const std::string fails = "fails at ";
  const std::size_t at = outcome.output.find(fails);
  const std::int64_t begin =
      at == std::string::npos ? 0 : std::atoll(outcome.output.c_str() + at + fails.size());
  outcome.seconds = static_cast<double>(monotonicNanoseconds() - begin) * 1e-9;
  return outcome;
}

/// Processes, other than this one, that have `mark` among their arguments.
int processesMarked(const std::string &mark) {
  int count = 0;
  for (const auto &entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    const std::string line((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    count += line.find(mark) != std::string::npos;
  }
  return count;
}

void expectEnd(const std::string &mode, int exitCode, const std::string &text) {
  const std::string mark = "mark-" + std::to_string(getpid()) + "-" + mode;
  const Outcome outcome = runVictims(mode, mark);
  EXPECT_EQ(outcome.exitCode, exitCode);
  EXPECT_NE(outcome.output.find(text), std::string::npos) << outcome.output;
  EXPECT_EQ(outcome.output.find("a wait has returned"), std::string::npos) << outcome.output;
  EXPECT_EQ(processesMarked(mark), 0);
}

TEST(MpiFailure, AbortEndsTheJobWithItsMessageAndExitCode) {
  expectEnd("abort", 2, "stagewright: rank 1: train.idx: label 12 is not in [0, 10); fix the file");
}

TEST(MpiFailure, AnInterruptHasItsExitCode) {
  expectEnd("interrupt", 130, "stagewright: rank 1: interrupted");
}

TEST(MpiFailure, AKilledRankEndsTheJobAndIsNamed) {
  expectEnd("kill", 137, "process rank 1");
}

TEST(MpiFailureLong, ARankThatLeavesEarlyDoesNotWaitForEver) {
  expectEnd("leave", 4, "stagewright: rank 1: rank 1: the rank is at its end and other ranks are not");
}

TEST(MpiFailureTimes, TheJobEndsSoon) {
  for (const char *mode : {"abort", "interrupt", "kill"}) {
    EXPECT_LT(runVictims(mode, "mark").seconds, 5) << mode;
  }
}

} // namespace
