#include "Fleet.h"

#include "runtime/comm/ThreadCommunicator.h"

#include <thread>

namespace stagewright::runtime {

std::vector<int> rankCounts() {
  return {1, 2, 3, 4};
}

bool ranksAreProcesses() {
  return false;
}

bool ranksAreApart() {
  return false;
}

void onEveryRank(int ranks, std::size_t capacity, const std::function<void(Communicator &)> &body) {
  ThreadGroup group(ranks, capacity);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(group.communicator(rank));
      } catch (const std::exception &error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
        group.communicator(rank).abort(rankError("test", "failed"));
      }
      if (testing::Test::HasFatalFailure()) {
        group.communicator(rank).abort(rankError("test", "failed"));
      }
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
}

} // namespace stagewright::runtime
