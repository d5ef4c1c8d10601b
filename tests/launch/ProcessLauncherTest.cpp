#include "runtime/launch/ProcessLauncher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

/// A running launched_job whose output goes to two files.
class RunningJob {
public:
  explicit RunningJob(const std::string &how, const char *path = nullptr) {
    char name[] = "/tmp/launched_job.XXXXXX";
    folder = mkdtemp(name);
    process = fork();
    if (process == 0) {
      for (auto [file, name] : {std::pair{1, "/stdout"}, std::pair{2, "/stderr"}}) {
        dup2(open((folder + name).c_str(), O_WRONLY | O_CREAT, 0600), file);
      }
      if (path) {
        setenv("PATH", path, 1);
      }
      setenv("TMPDIR", "/tmp", 1);
      execl(LAUNCHED_JOB, LAUNCHED_JOB, how.c_str(), nullptr);
      _exit(99);
    }
    launcher = process;
  }
  ~RunningJob() {
    if (process > 0) {
      kill(process, SIGKILL);
      waitpid(process, nullptr, 0);
    }
    std::filesystem::remove_all(folder);
  }

  std::string read(const char *name) const {
    std::ifstream file(folder + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  /// Waits until both ranks have printed their process ids, and returns these.
  std::vector<pid_t> ranks() const {
    std::vector<pid_t> pids;
    for (auto limit = Clock::now() + std::chrono::seconds(20); pids.size() < 2 && Clock::now() < limit;
         usleep(10'000)) {
      pids.clear();
      std::istringstream lines(read("/stderr"));
      for (std::string line; std::getline(lines, line);) {
        int pid = 0, rank = 0;
        if (std::sscanf(line.c_str(), "pid %d of rank %d", &pid, &rank) == 2) {
          pids.push_back(pid);
        }
      }
    }
    return pids;
  }

  int wait() {
    int status = 0;
    waitpid(process, &status, 0);
    process = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  /// Folders of the job's files, by the names that the launcher gives them.
  std::vector<std::string> jobFolders() const {
    std::vector<std::string> found;
    const std::string begin = "stagewright-" + std::to_string(launcher) + "-";
    for (const char *parent : {"/tmp", "/dev/shm"}) {
      for (const auto &entry : std::filesystem::directory_iterator(parent)) {
        if (entry.path().filename().string().starts_with(begin)) {
          found.push_back(entry.path());
        }
      }
    }
    return found;
  }
  void signal(int number) { kill(process, number); }

private:
  pid_t process = -1, launcher = -1;
  std::string folder;
};

/// Running, or stopped; a process that has ended and waits for init to collect it is not.
bool alive(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  return std::getline(file, text) && text[text.rfind(')') + 2] != 'Z';
}

bool gone(const std::vector<pid_t> &pids, double seconds) {
  for (auto limit = Clock::now() + std::chrono::duration<double>(seconds); Clock::now() < limit;
       usleep(10'000)) {
    if (std::none_of(pids.begin(), pids.end(), alive)) {
      return true;
    }
  }
  return false;
}

TEST(ProcessLauncher, PassesTheRanksOutputThrough) {
  RunningJob job("talk");
  EXPECT_EQ(job.wait(), 0);
  std::string results = job.read("/stdout"), rest = job.read("/stderr");
  EXPECT_NE(results.find("result of rank 0\n"), std::string::npos) << results;
  EXPECT_NE(results.find("result of rank 1\n"), std::string::npos) << results;
  EXPECT_NE(rest.find("\rpart of a line"), std::string::npos) << rest;
  EXPECT_EQ(rest.find("----"), std::string::npos) << rest;
}

TEST(ProcessLauncher, AKilledRankEndsTheJobWithItsName) {
  RunningJob job("killed");
  std::vector<pid_t> ranks = job.ranks();
  ASSERT_EQ(ranks.size(), 2u);
  EXPECT_EQ(job.jobFolders().size(), 2u);
  EXPECT_EQ(job.wait(), 4);
  EXPECT_EQ(job.read("/stdout").rfind("4 rank 1: killed by signal 9 (Killed); ", 0), 0u)
      << job.read("/stdout");
  EXPECT_EQ(job.read("/stderr").find("mpirun"), std::string::npos) << job.read("/stderr");
  EXPECT_TRUE(gone(ranks, 20));
  EXPECT_TRUE(job.jobFolders().empty());
}

TEST(ProcessLauncher, ReturnsTheCauseThatARankReportsAfterItsConsequence) {
  RunningJob job("report");
  EXPECT_EQ(job.wait(), 2);
  EXPECT_EQ(job.read("/stdout"), "2 data/x.gz: file ends early; fetch it again\n");
}

TEST(ProcessLauncher, NamesARankThatEndsSilently) {
  RunningJob job("silent");
  EXPECT_EQ(job.wait(), 4);
  // mpirun does not always say which one (JobMessages.cpp).
  std::string text = job.read("/stdout");
  EXPECT_TRUE(text.starts_with("4 rank 1: ended with exit code 7; ") ||
              text.starts_with("4 a rank: ended with exit code 7; "))
      << text;
}

TEST(ProcessLauncher, InterruptLeavesNoProcess) {
  for (const char *how : {"forever", "stubborn"}) {
    for (int signal : {SIGINT, SIGTERM}) {
      RunningJob job(how);
      std::vector<pid_t> ranks = job.ranks();
      ASSERT_EQ(ranks.size(), 2u);
      job.signal(signal);
      job.signal(signal); // an impatient user
      EXPECT_EQ(job.wait(), 130);
      EXPECT_TRUE(gone(ranks, 20)) << how;
      EXPECT_TRUE(job.jobFolders().empty()) << how;
      EXPECT_EQ(job.read("/stdout").rfind("130 interrupted", 0), 0u);
    }
  }
}

TEST(ProcessLauncher, RanksDieWithAKilledLauncher) {
  RunningJob job("stubborn");
  std::vector<pid_t> ranks = job.ranks();
  ASSERT_EQ(ranks.size(), 2u);
  job.signal(SIGKILL);
  EXPECT_EQ(job.wait(), 1000 + SIGKILL);
  EXPECT_TRUE(gone(ranks, 20));
  for (auto limit = Clock::now() + std::chrono::seconds(20);
       !job.jobFolders().empty() && Clock::now() < limit; usleep(10'000)) {
  }
  EXPECT_TRUE(job.jobFolders().empty());
}

/// Seconds from now until the job has ended and both ranks are gone.
double secondsToEnd(RunningJob &job, const std::vector<pid_t> &ranks) {
  auto begin = Clock::now();
  job.wait();
  EXPECT_TRUE(gone(ranks, 0.5));
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

TEST(ProcessLauncherTimes, AKilledRankEndsTheJob) {
  RunningJob job("killed"); // 0.3 s after its start
  std::vector<pid_t> ranks = job.ranks();
  EXPECT_LT(secondsToEnd(job, ranks), 5.3);
}

TEST(ProcessLauncherTimes, AnInterruptEndsTheJob) {
  for (const char *how : {"forever", "stubborn"}) {
    RunningJob job(how);
    std::vector<pid_t> ranks = job.ranks();
    job.signal(SIGINT);
    EXPECT_LT(secondsToEnd(job, ranks), 5) << how;
  }
}

TEST(ProcessLauncherTimes, AKilledLauncherEndsTheJob) {
  RunningJob job("stubborn");
  std::vector<pid_t> ranks = job.ranks();
  job.signal(SIGKILL);
  job.wait();
  EXPECT_TRUE(gone(ranks, 5));
}

TEST(ProcessLauncher, SaysThatMpirunIsMissing) {
  RunningJob job("talk", "/nowhere");
  EXPECT_EQ(job.wait(), 3);
  EXPECT_NE(job.read("/stdout").find("openmpi-bin"), std::string::npos) << job.read("/stdout");
}

int openFiles() {
  return static_cast<int>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

TEST(ProcessLauncher, TooFewFileDescriptorsAreAnErrorAndNoneIsLost) {
  // All numbers up to `last` are taken, so that the limit says how many more there may be.
  std::vector<int> taken;
  while (taken.size() < 50) {
    taken.push_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  const int last = *std::max_element(taken.begin(), taken.end()), before = openFiles();
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  for (int free = 0; free < 5; ++free) { // two pipes and the signals
    rlimit tight = old;
    tight.rlim_cur = static_cast<rlim_t>(last + 1 + free);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    const auto launched = stagewright::runtime::launchProcesses({1, {"/bin/true"}});
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    ASSERT_FALSE(launched) << free;
    EXPECT_EQ(launched.error().kind, stagewright::ErrorKind::Environment) << launched.error().text();
    EXPECT_NE(launched.error().advice.find("ulimit -n"), std::string::npos) << launched.error().text();
    EXPECT_EQ(openFiles(), before) << free;
  }
  for (const int file : taken) {
    close(file);
  }
}

} // namespace
