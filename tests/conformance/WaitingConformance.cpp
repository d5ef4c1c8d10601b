// What waiting costs, how soon it ends, and what can be seen of it.
#include "Fleet.h"

#include "runtime/device/AllocationCounter.h"
#include "runtime/device/Futex.h"

#include <algorithm>
#include <sys/resource.h>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

class WaitingCost : public Conformance {};
/// What depends on how busy the machine is.
class WaitingTimes : public Conformance {};

void sleepMilliseconds(int count) {
  std::this_thread::sleep_for(std::chrono::milliseconds(count));
}

/// Of this process.
double cpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval &time) { return time.tv_sec + 1e-6 * time.tv_usec; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST_P(WaitingCost, IdleWaitingUsesLessThanATenthOfACore) {
  if (ranks() == 1) {
    GTEST_SKIP() << "nobody waits";
  }
  for (const bool rankZeroReceives :
       {false, true}) { // the others wait in a receive, or until a large send is taken
    run([&](Communicator &self) {
      std::vector<std::byte> buffer(4 << 20);
      must(self.barrier());
      const double before = cpuSeconds();
      const std::int64_t begin = monotonicNanoseconds();
      const auto exchange = [&](int peer, bool receives) {
        must(self.wait(must(receives ? self.postReceive(peer, 0, buffer.data(), buffer.size())
                                     : self.postSend(peer, 0, buffer.data(), buffer.size()))));
      };
      if (self.rank() == 0) {
        sleepMilliseconds(1000);
        // Before the messages move: they cost what they cost.
        if (!ranksAreProcesses()) {
          EXPECT_LT(cpuSeconds() - before, 0.1);
        }
        for (int peer = 1; peer < self.size(); ++peer) {
          exchange(peer, rankZeroReceives);
        }
      } else {
        std::atomic<double> used{1.0};
        std::thread observer([&] {
          sleepMilliseconds(900);
          used = cpuSeconds() - before;
        });
        exchange(0, !rankZeroReceives);
        observer.join();
        if (ranksAreProcesses()) {
          EXPECT_LT(used, 0.09);
        }
        EXPECT_GT(monotonicNanoseconds() - begin, 900'000'000);
      }
    });
  }
}

TEST_P(WaitingTimes, AMessageWakesASleepingRankSoon) {
  run([](Communicator &self) {
    if (self.size() < 2 || self.rank() > 1) {
      return;
    }
    std::vector<std::int64_t> message(8192); // 64 KiB
    std::int64_t best = 1'000'000'000;       // of three medians: the machine may be busy
    for (int round = 0; round < 3; ++round) {
      std::vector<std::int64_t> delays;
      for (int i = 0; i < 40; ++i) {
        if (self.rank() == 0) {
          sleepMilliseconds(4); // both sides fall asleep
          message[0] = monotonicNanoseconds();
          must(self.wait(must(self.postSend(1, 5, message.data(), 65536))));
        } else {
          must(self.wait(must(self.postReceive(0, 5, message.data(), 65536))));
          delays.push_back(monotonicNanoseconds() - message[0]);
        }
      }
      if (self.rank() == 1) {
        std::sort(delays.begin(), delays.end());
        best = std::min(best, delays[delays.size() / 2]);
      }
    }
    if (self.rank() == 1) {
      EXPECT_LT(best, 400'000); // nanoseconds
    }
  });
}

TEST_P(WaitingTimes, ALargeMessageFlowsAlthoughItsSenderSlept) {
  run([](Communicator &self) {
    if (self.size() < 2 || self.rank() > 1) {
      return;
    }
    std::vector<std::byte> message(24 << 20);
    std::int64_t best = 10'000'000'000;
    for (int i = 0; i < 5; ++i) {
      if (self.rank() == 0) {
        must(self.wait(must(self.postSend(1, 5, message.data(), message.size()))));
      } else {
        sleepMilliseconds(50); // the sender waits until we take the message
        const std::int64_t begin = monotonicNanoseconds();
        must(self.wait(must(self.postReceive(0, 5, message.data(), message.size()))));
        best = std::min(best, monotonicNanoseconds() - begin);
      }
    }
    if (self.rank() == 1) {
      EXPECT_LT(best, 40'000'000); // 0.6 GB/s
    }
  });
}

TEST_P(WaitingCost, ItCanBeSeenWhatARankWaitsFor) {
  run([](Communicator &self) {
    if (self.size() < 2 || self.rank() > 1) {
      return;
    }
    int words[3] = {};
    EXPECT_FALSE(self.waitingOn().waits);
    EXPECT_EQ(self.waitingOn().text(), "does not wait");
    if (self.rank() == 0) {
      for (int &word : words) {
        sleepMilliseconds(&word == &words[2] ? 500 : 50);
        must(self.wait(must(self.postSend(1, 6, &word, 4))));
      }
      return;
    }
    std::vector<Request> requests;
    for (int &word : words) {
      requests.push_back(must(self.postReceive(0, 6, &word, 4)));
    }
    must(self.wait(requests[0]));
    must(self.wait(requests[1]));
    const std::int64_t begin = monotonicNanoseconds();
    Waiting seen;
    std::atomic<bool> over = false;
    std::thread observer([&] {
      for (; !seen.waits && !over; sleepMilliseconds(1)) {
        seen = self.waitingOn();
      }
    });
    must(self.wait(requests[2]));
    const std::int64_t end = monotonicNanoseconds();
    over = true;
    observer.join();
    EXPECT_TRUE(seen.waits);
    EXPECT_EQ(seen.direction, Direction::Receive);
    EXPECT_EQ(seen.peer, 0);
    EXPECT_EQ(seen.tag, 6);
    EXPECT_EQ(seen.number, 2u);
    EXPECT_GE(seen.since, begin);
    EXPECT_LT(seen.since, end);
    EXPECT_EQ(seen.text(), "waits for message 2 from rank 0 (tag 6)");
    EXPECT_FALSE(self.waitingOn().waits);
  });
}

/// One attempt of rank 1, for which rank 0 is late, to be seen while it waits; the processor seconds that it
/// takes.
static double waitInCollective(Communicator &self, Waiting &seen) {
  std::atomic<bool> over = false;
  std::thread observer([&] {
    for (; !seen.waits && !over; sleepMilliseconds(1)) {
      seen = self.waitingOn();
    }
  });
  float value = 1;
  const double before = cpuSeconds();
  must(self.allReduce(&value, 1, Element::F32, {0, 1, 2}));
  const double used = cpuSeconds() - before;
  over = true;
  observer.join();
  EXPECT_EQ(value, 2);
  return used;
}

TEST_P(WaitingCost, ItCanBeSeenThatARankWaitsInACollective) {
  run([](Communicator &self) {
    if (self.size() < 2 || self.rank() > 1) {
      return;
    }
    Waiting seen;
    double used = 0;
    char wasSeen = 0; // not on a busy machine, perhaps, where rank 1 begins later still: then once more
    for (int late = 200; wasSeen == 0 && late <= 6400; late *= 2) {
      if (self.rank() == 0) {
        float value = 1;
        sleepMilliseconds(late);
        must(self.allReduce(&value, 1, Element::F32, {0, 1, 2}));
        must(self.wait(*self.postReceive(1, 6, &wasSeen, 1)));
      } else {
        used = waitInCollective(self, seen);
        wasSeen = seen.waits ? 1 : 0;
        must(self.wait(*self.postSend(0, 6, &wasSeen, 1)));
      }
    }
    EXPECT_EQ(wasSeen, 1);
    EXPECT_FALSE(self.waitingOn().waits);
    if (self.rank() == 1) {
      EXPECT_EQ(seen.peer, 0);
      EXPECT_EQ(seen.tag, Communicator::kCollectiveTag);
    }
    if (self.rank() == 1 && ranksAreProcesses()) {
      EXPECT_LT(used, 0.1);
    }
  });
}

TEST_P(WaitingCost, ASteadyLoopAllocatesNothing) {
  run([](Communicator &self) {
    const int next = (self.rank() + 1) % self.size();
    const int previous = (self.rank() + self.size() - 1) % self.size();
    std::vector<float> values(40'000, 1.0F);
    std::vector<float> small(100), large(300'000), smallIn(100), largeIn(300'000);
    std::vector<Segment> segments;
    for (int rank = 0; rank < self.size(); ++rank) {
      segments.push_back({rank, values.data() + rank * 1000, 4000});
    }
    const auto step = [&] {
      const Request requests[] = {must(self.postSend(next, 0, small.data(), small.size() * 4)),
                                  must(self.postSend(next, 1, large.data(), large.size() * 4)),
                                  must(self.postReceive(previous, 0, smallIn.data(), small.size() * 4)),
                                  must(self.postReceive(previous, 1, largeIn.data(), large.size() * 4))};
      for (const Request request : requests) {
        must(self.wait(request));
      }
      must(self.allGather(segments));
      must(self.allReduce(values.data(), values.size(), Element::F32));
      must(self.broadcast(values.data(), 4000, 0));
      must(self.barrier());
    };
    for (int i = 0; i < 3; ++i) {
      step();
    }
    must(self.barrier());
    const std::uint64_t before = allocationCount();
    for (int i = 0; i < 100; ++i) {
      step();
    }
    const std::uint64_t after = allocationCount();
    must(self.barrier());
    EXPECT_GT(before, 0u);
    EXPECT_EQ(after - before, 0u);
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, WaitingCost, testing::ValuesIn(rankCounts()));
INSTANTIATE_TEST_SUITE_P(Ranks, WaitingTimes, testing::ValuesIn(rankCounts()));

} // namespace
