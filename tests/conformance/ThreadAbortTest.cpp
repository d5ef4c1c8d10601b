// abort() among threads. (Under MPI it ends the job: MpiFailureTest.cpp.)
#include "runtime/comm/ThreadCommunicator.h"

#include "runtime/device/Futex.h"

#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

void sleepMilliseconds(int count) {
  std::this_thread::sleep_for(std::chrono::milliseconds(count));
}

void onThreads(ThreadGroup &group, const std::function<void(Communicator &)> &body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < group.size(); ++rank) {
    threads.emplace_back([&, rank] { body(group.communicator(rank)); });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
}

/// Posting may fail already, when a thread comes late.
Result<void> finish(Communicator &self, Result<Request> posted) {
  return posted ? self.wait(*posted) : Result<void>(posted.error());
}

TEST(ThreadAbort, WakesEveryKindOfWaiter) {
  ThreadGroup group(5);
  std::atomic<std::int64_t> aborted{0};
  onThreads(group, [&](Communicator &self) {
    std::vector<std::byte> buffer(1 << 20);
    Result<void> result;
    switch (self.rank()) {
    case 0:
      sleepMilliseconds(100);
      aborted = monotonicNanoseconds();
      self.abort(userError("train.idx", "label 12 is not in [0, 10)", "fix the file"));
      self.abort(userError("", "a second one that nobody hears of"));
      result = self.barrier();
      break;
    case 1:
      result = finish(self, self.postReceive(0, 0, buffer.data(), buffer.size()));
      break;
    case 2:
      result = finish(self, self.postSend(0, 0, buffer.data(), buffer.size()));
      break;
    case 3:
      result = self.barrier();
      break;
    case 4:
      result = self.allReduce(buffer.data(), 1000, Element::F32);
      break;
    }
    EXPECT_LT(monotonicNanoseconds() - aborted, 2'000'000'000);
    ASSERT_FALSE(result) << self.rank();
    EXPECT_EQ(result.error().kind, ErrorKind::Rank);
    EXPECT_EQ(result.error().text(), "rank 0: stopped: train.idx: label 12 is not in [0, 10); fix the file");
    // From now on as well.
    const Result<Request> later = self.postSend(0, 1, buffer.data(), 4);
    ASSERT_FALSE(later);
    EXPECT_EQ(later.error().kind, ErrorKind::Rank);
  });
}

TEST(ThreadAbort, AnInterruptStaysAnInterrupt) {
  ThreadGroup group(2);
  std::thread signalled([&] {
    sleepMilliseconds(50);
    group.communicator(0).abort(
        {ErrorKind::Interrupted, "", "interrupted", ""}); // by a thread that is no rank's
  });
  onThreads(group, [&](Communicator &self) {
    int word = 0;
    const Result<void> result = finish(self, self.postReceive(1 - self.rank(), 0, &word, 4));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::Interrupted);
  });
  signalled.join();
}

// Large messages go round until somebody aborts. Each rank frees its buffers as soon as it has the error; a
// copy that is still under way would write into freed memory (seen by the sanitizers, or as a crash).
TEST(ThreadAbort, NobodyTouchesBuffersAfterTheError) {
  for (int round = 0; round < 40; ++round) {
    ThreadGroup group(4);
    std::thread aborter([&] {
      std::mt19937 random(round);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
      group.communicator(2).abort(rankError("test", "stop"));
    });
    onThreads(group, [&](Communicator &self) {
      const int next = (self.rank() + 1) % self.size();
      const int previous = (self.rank() + self.size() - 1) % self.size();
      for (bool going = true; going;) {
        auto out = std::make_unique<std::byte[]>(1 << 20);
        auto in = std::make_unique<std::byte[]>(1 << 20);
        const Result<Request> send = self.postSend(next, 0, out.get(), 1 << 20);
        const Result<Request> receive = send ? self.postReceive(previous, 0, in.get(), 1 << 20) : send;
        going = receive && self.wait(*send) && self.wait(*receive);
      }
    });
    aborter.join();
  }
}

} // namespace
