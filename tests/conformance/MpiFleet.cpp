#include "Fleet.h"

#include "runtime/comm/MpiSession.h"

#include <cstdio>

namespace stagewright::runtime {
namespace {

std::unique_ptr<MpiSession> session;

/// On ranks other than 0 only failures are worth a line.
class FailurePrinter : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult &result) override {
    if (result.failed()) {
      std::fprintf(stderr, "rank %d: %s:%d: %s\n", session->rank(),
                   result.file_name() ? result.file_name() : "?", result.line_number(), result.summary());
    }
  }
};

} // namespace

std::vector<int> rankCounts() {
  return {session->size()};
}

bool ranksAreProcesses() {
  return true;
}

bool ranksAreApart() {
  return session->localSize() < session->size();
}

void onEveryRank(int, std::size_t capacity, const std::function<void(Communicator &)> &body) {
  const std::unique_ptr<Communicator> communicator = must(session->makeCommunicator(capacity));
  try {
    body(*communicator);
  } catch (const std::exception &error) {
    ADD_FAILURE() << error.what();
    communicator->abort(rankError("test", error.what()));
  }
  if (testing::Test::HasFatalFailure()) {
    communicator->abort(rankError("test", "failed"));
  }
  must(communicator->barrier()); // so that a test that measures time is alone
}

} // namespace stagewright::runtime

int main(int argc, char **argv) {
  using namespace stagewright::runtime;
  if (!startedByMpirun()) {
    std::fprintf(stderr, "start this program with mpirun\n");
    return 2;
  }
  session = must(MpiSession::start());
  testing::InitGoogleTest(&argc, argv);
  if (session->rank() != 0) {
    testing::TestEventListeners &listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter);
  }
  const int failures = RUN_ALL_TESTS();
  session.reset();
  return failures;
}
