// One rank of a job that is about to fail, for MpiFailureTest.cpp: rank 1 of 3 does what argv[1] says, the
// others wait for it.
#include "runtime/comm/MpiSession.h"
#include "runtime/device/Futex.h"

#include <csignal>
#include <cstdio>
#include <string>
#include <unistd.h>

using namespace stagewright;
using namespace stagewright::runtime;

int main(int argc, char **argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  Result<std::unique_ptr<MpiSession>> session = MpiSession::start();
  if (!session) {
    std::fprintf(stderr, "%s\n", session.error().text().c_str());
    return 3;
  }
  Result<std::unique_ptr<Communicator>> made = (*session)->makeCommunicator();
  if (!made) {
    std::fprintf(stderr, "%s\n", made.error().text().c_str());
    return 3;
  }
  Communicator &self = **made;
  if (Result<void> together = self.barrier(); !together) {
    return 1;
  }
  if (self.rank() == 1) {
    usleep(300'000);
    std::fprintf(stderr, "fails at %lld\n", static_cast<long long>(monotonicNanoseconds()));
    if (mode == "abort") {
      self.abort(userError("train.idx", "label 12 is not in [0, 10)", "fix the file"));
    } else if (mode == "interrupt") {
      self.abort({ErrorKind::Interrupted, "", "interrupted", ""});
    } else if (mode == "kill") {
      raise(SIGKILL);
    } else if (mode == "leave") {
      return 3;
    }
  }
  int word = 0;
  const Result<Request> request = self.postReceive(1, 0, &word, 4); // rank 1 never sends
  const Result<void> result = request ? self.wait(*request) : Result<void>(request.error());
  std::fprintf(stderr, "a wait has returned: %s\n", result ? "success" : result.error().text().c_str());
  return 99;
}
