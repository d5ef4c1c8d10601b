#include "runtime/launch/ProcessLauncher.h"

#include "runtime/launch/JobFolders.h"
#include "runtime/launch/JobMessages.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace stagewright::runtime {

// Set for the ranks by the launcher: "1" if its stderr is a terminal, else "0".
static constexpr const char *kLauncherVariable = "STAGEWRIGHT_LAUNCHER";
// Path of the launcher's memory for error records. Not mpirun's stderr: at the end of a job that fails,
// mpirun drops what it has not forwarded yet.
static constexpr const char *kRecordsVariable = "STAGEWRIGHT_ERROR_RECORDS";
static constexpr std::chrono::seconds kGrace{8};

static bool writeAll(int file, std::string_view text) {
  while (!text.empty()) {
    ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno != EINTR) {
      return false;
    }
    text.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
  return true;
}

bool isRankProcess() {
  return std::getenv("OMPI_COMM_WORLD_RANK") != nullptr;
}

int processRank() {
  const char *rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return rank ? std::atoi(rank) : 0;
}

void joinJob() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

bool launcherHasTerminal() {
  const char *value = std::getenv(kLauncherVariable);
  return value && std::strcmp(value, "1") == 0;
}

bool reportError(const Error &error) {
  const char *path = std::getenv(kRecordsVariable);
  const int file = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
  if (file < 0) {
    return false;
  }
  const bool written = writeAll(file, errorRecord(error, processRank()));
  close(file);
  return written;
}

namespace {

/// File descriptors and the process of one job.
class Job {
public:
  ~Job() {
    for (int file : {stderrRead, signals, records}) {
      if (file >= 0) {
        close(file);
      }
    }
    if (masked) {
      sigprocmask(SIG_SETMASK, &oldMask, nullptr);
    }
  }

  Result<void> start(const LaunchRequest &request);
  Result<void> wait();

private:
  void takeSignals();
  bool passOutput(); ///< false at the end of the stream
  void takeRecords();

  JobFolders folders;
  int stderrRead = -1, signals = -1, records = -1;
  pid_t child = -1;
  sigset_t oldMask;
  bool masked = false;
  std::optional<int> status; ///< as waitpid gives it, once mpirun has ended
  std::optional<std::chrono::steady_clock::time_point> interrupted;
  JobMessages messages;
};

std::vector<std::string> mpirunArguments(const LaunchRequest &request) {
  std::vector<std::string> arguments = {"mpirun", "--oversubscribe", "--bind-to", "none", "--stdin", "none"};
  if (geteuid() == 0) {
    arguments.push_back("--allow-run-as-root");
  }
  arguments.push_back("-n");
  arguments.push_back(std::to_string(request.ranks));
  arguments.insert(arguments.end(), request.command.begin(), request.command.end());
  return arguments;
}

/// The environment with what the ranks need. What the user has set for Open MPI stays as it is.
std::vector<std::string> rankEnvironment(const JobFolders &folders, int records) {
  std::vector<std::string> variables = folders.variables();
  for (char **variable = environ; *variable; ++variable) {
    variables.emplace_back(*variable);
  }
  variables.push_back(std::string(kLauncherVariable) + (isatty(STDERR_FILENO) ? "=1" : "=0"));
  variables.push_back(std::string(kRecordsVariable) + "=/proc/" + std::to_string(getpid()) + "/fd/" +
                      std::to_string(records));
  return variables;
}

std::vector<char *> pointers(std::vector<std::string> &strings) {
  std::vector<char *> result;
  for (std::string &string : strings) {
    result.push_back(string.data());
  }
  result.push_back(nullptr);
  return result;
}

Result<void> Job::start(const LaunchRequest &request) {
  int output[2], failure[2];
  const auto noDescriptor = [](int reason) {
    return environmentError("mpirun", std::string("no channel to it: ") + std::strerror(reason),
                            "raise the limit on open files (ulimit -n)");
  };
  records = memfd_create("stagewright-errors", MFD_CLOEXEC);
  if (records < 0 || pipe2(output, O_CLOEXEC) != 0) {
    return noDescriptor(errno);
  }
  stderrRead = output[0];
  if (pipe2(failure, O_CLOEXEC) != 0) {
    const int reason = errno;
    close(output[1]);
    return noDescriptor(reason);
  }
  std::vector<std::string> arguments = mpirunArguments(request),
                           variables = rankEnvironment(folders, records);
  std::vector<char *> argumentPointers = pointers(arguments), variablePointers = pointers(variables);

  sigset_t mask;
  sigemptyset(&mask);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) {
    sigaddset(&mask, signal);
  }
  sigprocmask(SIG_BLOCK, &mask, &oldMask);
  masked = true;
  signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) {
    const int reason = errno;
    for (const int file : {output[1], failure[0], failure[1]}) {
      close(file);
    }
    return noDescriptor(reason);
  }

  pid_t parent = getpid();
  child = fork();
  if (child == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int nothing = open("/dev/null", O_RDONLY);
    if (getppid() == parent && nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 &&
        dup2(output[1], STDERR_FILENO) >= 0) {
      for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGPIPE}) {
        std::signal(signal, SIG_DFL);
      }
      sigprocmask(SIG_SETMASK, &oldMask, nullptr);
      fcntl(folders.keeper(), F_SETFD, 0);
      execvpe("mpirun", argumentPointers.data(), variablePointers.data());
    }
    int reason = errno;
    (void)!write(failure[1], &reason, sizeof reason);
    _exit(127);
  }
  int forkError = errno;
  close(output[1]);
  close(failure[1]);
  int reason = 0;
  bool failed = read(failure[0], &reason, sizeof reason) == static_cast<ssize_t>(sizeof reason);
  close(failure[0]);
  if (child < 0 || failed) {
    if (child > 0) {
      waitpid(child, nullptr, 0);
    }
    reason = child < 0 ? forkError : reason;
    return environmentError("mpirun", std::string("cannot be started: ") + std::strerror(reason),
                            "install the package openmpi-bin, or use --ranks threads");
  }
  return {};
}

void Job::takeSignals() {
  signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGCHLD) {
      int ended = 0;
      if (!status && waitpid(child, &ended, WNOHANG) == child) {
        status = ended;
      }
    } else if (!interrupted) {
      // mpirun answers SIGTERM by stopping the ranks: SIGTERM, and a second later SIGKILL. A second SIGTERM
      // would make it leave without them, so later signals are not passed on.
      interrupted = std::chrono::steady_clock::now();
      kill(child, SIGTERM);
    }
  }
}

bool Job::passOutput() {
  std::array<char, 4096> buffer;
  ssize_t size = read(stderrRead, buffer.data(), buffer.size());
  if (size < 0) {
    return errno == EINTR || errno == EAGAIN;
  }
  writeAll(STDERR_FILENO,
           size == 0 ? messages.finish() : messages.take({buffer.data(), static_cast<std::size_t>(size)}));
  return size > 0;
}

void Job::takeRecords() {
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t size;
       (size = pread(records, buffer.data(), buffer.size(), static_cast<off_t>(text.size()))) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(size));
  }
  messages.takeRecords(text);
}

Result<void> Job::wait() {
  bool open = true;
  while (open || !status) {
    pollfd files[2] = {{signals, POLLIN, 0}, {open ? stderrRead : -1, POLLIN, 0}};
    poll(files, 2, interrupted ? 100 : -1);
    takeSignals();
    if (files[1].revents) {
      open = passOutput();
    }
    if (interrupted && !status && std::chrono::steady_clock::now() - *interrupted > kGrace) {
      kill(child, SIGKILL); // the ranks die with it (joinJob)
    }
  }
  if (interrupted) {
    return Error{ErrorKind::Interrupted, "", "interrupted", "the ranks were stopped"};
  }
  if (WIFSIGNALED(*status)) {
    return rankError("mpirun",
                     std::string("killed by signal ") + std::to_string(WTERMSIG(*status)) + " (" +
                         strsignal(WTERMSIG(*status)) + ")",
                     "the ranks ended with it and nothing was written");
  }
  takeRecords();
  if (std::optional<Error> error = messages.verdict(WEXITSTATUS(*status))) {
    return *std::move(error);
  }
  return {};
}

} // namespace

Result<void> launchProcesses(const LaunchRequest &request) {
  Job job;
  if (Result<void> started = job.start(request); !started) {
    return started;
  }
  return job.wait();
}

} // namespace stagewright::runtime
