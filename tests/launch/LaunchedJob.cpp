// A job whose ranks behave as the first argument says, without MPI. The launcher prints how the job ended:
// "<kind> <text of the error>" on stdout, and exits with the kind.
#include "runtime/launch/ProcessLauncher.h"

#include <csignal>
#include <cstdio>
#include <string>
#include <unistd.h>

using namespace stagewright;
using namespace stagewright::runtime;

static int behave(const std::string &how) {
  joinJob();
  int rank = processRank();
  std::fprintf(stderr, "pid %d of rank %d\n", static_cast<int>(getpid()), rank);
  if (how == "talk") {
    std::fprintf(stderr, "\rpart of a line");
    std::printf("result of rank %d\n", rank);
  } else if (how == "killed" && rank == 1) {
    usleep(300'000);
    raise(SIGKILL);
  } else if (how == "report") {
    // Rank 1 has the cause; the other one only notices.
    usleep(rank == 1 ? 300'000 : 0);
    reportError(rank == 1 ? userError("data/x.gz", "file ends early", "fetch it again")
                          : rankError("rank 1", "is gone"));
    _exit(rank == 1 ? 2 : 4);
  } else if (how == "silent" && rank == 1) {
    _exit(7);
  }
  if (how == "stubborn" || how == "killed" || how == "forever") {
    if (how == "stubborn") {
      std::signal(SIGTERM, SIG_IGN);
    }
    for (;;) {
      pause();
    }
  }
  return 0;
}

int main(int count, char **arguments) {
  std::string how = count > 1 ? arguments[1] : "";
  if (isRankProcess()) {
    return behave(how);
  }
  LaunchRequest request{2, {arguments[0], how}};
  Result<void> result = launchProcesses(request);
  if (!result) {
    std::printf("%d %s\n", static_cast<int>(result.error().kind), result.error().text().c_str());
    return static_cast<int>(result.error().kind);
  }
  return 0;
}
