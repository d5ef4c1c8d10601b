#include "runtime/device/TilePool.h"

#include "runtime/device/AllocationCounter.h"
#include "runtime/device/Futex.h"
#include "runtime/device/RankPinning.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <gtest/gtest.h>
#include <mutex>
#include <random>
#include <set>
#include <sys/resource.h>
#include <thread>
#include <vector>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

std::unique_ptr<TilePool> makePool(int threads, void (*threadStart)() = nullptr, BusyTrace trace = {}) {
  Result<std::unique_ptr<TilePool>> pool = TilePool::create(threads, threadStart, trace);
  EXPECT_TRUE(pool) << pool.error().text();
  return std::move(*pool);
}

/// Calls body(index, worker) for every tile.
template <typename Body>
void runTiles(TilePool &pool, int tiles, Body body) {
  pool.run(
      tiles, [](void *context, int index, int worker) { (*static_cast<Body *>(context))(index, worker); },
      &body);
}

void sleepMilliseconds(int count) {
  std::this_thread::sleep_for(std::chrono::milliseconds(count));
}

/// Watches that no more than `limit` bodies run at a time, each under a worker number of its own.
struct Watch {
  explicit Watch(int limit) : limit(limit), workerBusy(limit) {}
  void enter(int worker) {
    EXPECT_LE(running.fetch_add(1) + 1, limit);
    ASSERT_LT(worker, limit);
    EXPECT_EQ(workerBusy[worker].exchange(1), 0) << "two threads have worker number " << worker;
  }
  void leave(int worker) {
    workerBusy[worker].store(0);
    running.fetch_sub(1);
  }
  int limit;
  std::atomic<int> running{0};
  std::vector<std::atomic<int>> workerBusy;
};

class TilePoolStress : public testing::TestWithParam<int> {};

TEST_P(TilePoolStress, ManyRanksEveryTileOnceNeverMoreThanNBodies) {
  const int permits = GetParam();
  constexpr int kRanks = 8;
  constexpr int kTasks = 200;
  constexpr int kMostTiles = 40;
  const std::unique_ptr<TilePool> pool = makePool(permits);
  EXPECT_EQ(pool->threads(), permits);
  Watch watch(permits);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < kRanks; ++rank) {
    ranks.emplace_back([&, rank] {
      std::mt19937 random(rank);
      std::vector<int> count(kMostTiles);
      for (int task = 0; task < kTasks; ++task) {
        const TilePool::Lease lease(*pool);
        for (int job = 0; job < 3; ++job) {
          const int tiles = static_cast<int>(random() % (kMostTiles + 1));
          const int work = static_cast<int>(random() % 2000);
          std::fill(count.begin(), count.end(), 0); // not atomic: run() must order it with the tiles
          runTiles(*pool, tiles, [&](int index, int worker) {
            watch.enter(worker);
            ++count[index];
            for (volatile int i = 0; i < work; i = i + 1) {
            }
            watch.leave(worker);
          });
          for (int index = 0; index < kMostTiles; ++index) {
            EXPECT_EQ(count[index], index < tiles ? 1 : 0);
          }
        }
      }
    });
  }
  for (std::thread &rank : ranks) {
    rank.join();
  }
  EXPECT_EQ(watch.running, 0);
}

TEST_P(TilePoolStress, ManySmallJobsInARow) {
  const std::unique_ptr<TilePool> pool = makePool(GetParam());
  constexpr int kJobs = 100'000;
  const TilePool::Lease lease(*pool);
  std::atomic<std::int64_t> sum{0};
  for (int job = 0; job < kJobs; ++job) {
    runTiles(*pool, 3, [&](int index, int) { sum.fetch_add(index + 1, std::memory_order_relaxed); });
  }
  EXPECT_EQ(sum, std::int64_t{6} * kJobs);
}

TEST_P(TilePoolStress, PermitsGoRoundAmongRanksThatWait) {
  const int permits = GetParam();
  const std::unique_ptr<TilePool> pool = makePool(permits);
  std::atomic<bool> stop{false};
  std::vector<int> leases(6);
  std::vector<std::thread> ranks;
  for (int &own : leases) {
    ranks.emplace_back([&] {
      while (!stop) {
        const TilePool::Lease lease(*pool);
        ++own;
        spinUntil(50'000, [] { return false; });
      }
    });
  }
  sleepMilliseconds(500);
  stop = true;
  for (std::thread &rank : ranks) {
    rank.join();
  }
  const auto [fewest, most] = std::minmax_element(leases.begin(), leases.end());
  EXPECT_GT(*fewest, 10);
  if (permits == 1) { // one permit: nobody overtakes anybody
    EXPECT_LE(*most - *fewest, *most / 5 + 10);
  }
}

INSTANTIATE_TEST_SUITE_P(Permits, TilePoolStress, testing::Values(1, 2, 3, 8));

TEST(TilePool, HelpersReallyRunBesideTheRank) {
  for (const int permits : {2, 4}) {
    const std::unique_ptr<TilePool> pool = makePool(permits);
    const TilePool::Lease lease(*pool);
    std::atomic<int> arrived{0};
    std::mutex mutex;
    std::set<std::thread::id> threads;
    std::set<int> workers;
    // Each tile waits until all of them are running.
    runTiles(*pool, permits, [&](int, int worker) {
      {
        std::lock_guard lock(mutex);
        threads.insert(std::this_thread::get_id());
        workers.insert(worker);
      }
      arrived.fetch_add(1);
      EXPECT_TRUE(spinUntil(20'000 * kMillisecond, [&] {
        std::this_thread::yield();
        return arrived == permits;
      }));
    });
    EXPECT_EQ(static_cast<int>(threads.size()), permits);
    EXPECT_EQ(static_cast<int>(workers.size()), permits);
    EXPECT_EQ(*workers.rbegin(), permits - 1);
  }
}

TEST(TilePool, RunReturnsAfterTheLastTileOfAHelper) {
  const std::unique_ptr<TilePool> pool = makePool(2);
  const TilePool::Lease lease(*pool);
  const std::thread::id self = std::this_thread::get_id();
  for (int job = 0; job < 5; ++job) {
    std::atomic<bool> helperStarted{false};
    std::atomic<bool> helperDone{false};
    runTiles(*pool, 2, [&](int, int) {
      if (std::this_thread::get_id() == self) {
        EXPECT_TRUE(spinUntil(20'000 * kMillisecond, [&] {
          std::this_thread::yield();
          return helperStarted.load();
        }));
      } else {
        helperStarted = true;
        sleepMilliseconds(20);
        helperDone = true;
      }
    });
    EXPECT_TRUE(helperDone);
  }
}

TEST(TilePool, AHelperGivesItsPermitToARankThatWaits) {
  const std::unique_ptr<TilePool> pool = makePool(2);
  std::atomic<bool> started{false};
  std::atomic<int> done{0};
  constexpr int kTiles = 200;
  std::thread first([&] {
    const TilePool::Lease lease(*pool);
    runTiles(*pool, kTiles, [&](int, int) {
      started = true;
      sleepMilliseconds(5);
      done.fetch_add(1);
    });
  });
  while (!started) {
    std::this_thread::yield();
  }
  {
    const TilePool::Lease lease(*pool); // both permits are in use: by the rank and by the helper
    EXPECT_LT(done, kTiles / 2);
  }
  first.join();
  EXPECT_EQ(done, kTiles);
}

TEST(TilePool, AHelperComesWhenARankLeavesItsPermit) {
  const std::unique_ptr<TilePool> pool = makePool(2);
  std::atomic<bool> secondHasLease{false};
  std::atomic<bool> secondMayLeave{false};
  std::thread second([&] {
    const TilePool::Lease lease(*pool);
    secondHasLease = true;
    while (!secondMayLeave) {
      std::this_thread::yield();
    }
  });
  while (!secondHasLease) {
    std::this_thread::yield();
  }
  const TilePool::Lease lease(*pool);
  const std::thread::id self = std::this_thread::get_id();
  std::atomic<int> byHelper{0};
  runTiles(*pool, 100, [&](int, int) {
    byHelper.fetch_add(std::this_thread::get_id() != self);
    secondMayLeave = true;
    sleepMilliseconds(2);
  });
  second.join();
  EXPECT_GT(byHelper, 20);
}

thread_local bool prepared = false;
std::atomic<int> preparedThreads{0};

TEST(TilePool, EveryHelperIsPreparedBeforeItsFirstTile) {
  preparedThreads = 0;
  {
    const std::unique_ptr<TilePool> pool = makePool(3, [] {
      prepared = true;
      preparedThreads.fetch_add(1);
    });
    prepared = true;
    const TilePool::Lease lease(*pool);
    for (int job = 0; job < 100; ++job) {
      runTiles(*pool, 20, [&](int, int) {
        EXPECT_TRUE(prepared);
        spinUntil(20'000, [] { return false; });
      });
    }
  }
  prepared = false;
  EXPECT_EQ(preparedThreads, 2);
}

TEST(TilePool, ScratchBelongsToOneWorker) {
  const std::unique_ptr<TilePool> pool = makePool(3);
  const TilePool::Lease lease(*pool);
  for (int worker = 0; worker < 3; ++worker) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pool->scratch(worker)) % 64, 0u);
    std::memset(pool->scratch(worker), worker + 1, kernels::kTileScratchBytes);
  }
  for (int worker = 0; worker < 3; ++worker) {
    const auto *bytes = static_cast<const char *>(pool->scratch(worker));
    EXPECT_TRUE(
        std::all_of(bytes, bytes + kernels::kTileScratchBytes, [&](char b) { return b == worker + 1; }));
  }
}

struct Interval {
  int worker;
  std::int64_t begin;
  std::int64_t end;
};
struct Trace {
  std::mutex mutex;
  std::vector<Interval> intervals;
};

TEST(TilePool, TheTraceTellsWhichWorkersWereBusyAndWhen) {
  Trace trace;
  BusyTrace callback{[](void *context, int worker, std::int64_t begin, std::int64_t end) {
                       auto *trace = static_cast<Trace *>(context);
                       std::lock_guard lock(trace->mutex);
                       trace->intervals.push_back({worker, begin, end});
                     },
                     &trace};
  const std::int64_t start = monotonicNanoseconds();
  {
    const std::unique_ptr<TilePool> pool = makePool(2, nullptr, callback);
    for (int task = 0; task < 5; ++task) {
      const TilePool::Lease lease(*pool);
      runTiles(*pool, 4, [](int, int) { sleepMilliseconds(10); });
    }
  }
  const std::int64_t stop = monotonicNanoseconds();
  std::int64_t busy[2] = {0, 0};
  std::int64_t last[2] = {start, start};
  std::sort(trace.intervals.begin(), trace.intervals.end(),
            [](const Interval &a, const Interval &b) { return a.begin < b.begin; });
  for (const Interval &interval : trace.intervals) {
    ASSERT_TRUE(interval.worker == 0 || interval.worker == 1);
    EXPECT_GE(interval.begin, last[interval.worker]) << "intervals of one worker overlap";
    EXPECT_LE(interval.begin, interval.end);
    last[interval.worker] = interval.end;
    busy[interval.worker] += interval.end - interval.begin;
  }
  EXPECT_LE(std::max(last[0], last[1]), stop);
  EXPECT_GE(busy[0] + busy[1], 200 * kMillisecond); // 5 x 4 tiles of 10 ms
  EXPECT_GE(std::min(busy[0], busy[1]), 50 * kMillisecond);
}

double cpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval &time) { return time.tv_sec + 1e-6 * time.tv_usec; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(TilePool, IdleAndWaitingThreadsSleep) {
  const std::unique_ptr<TilePool> pool = makePool(3);
  std::vector<std::thread> ranks;
  double used = 0;
  {
    std::atomic<int> held{0};
    std::atomic<bool> leave{false};
    for (int rank = 0; rank < 5; ++rank) { // three get a permit, two wait
      ranks.emplace_back([&] {
        const TilePool::Lease lease(*pool);
        held.fetch_add(1);
        while (!leave) {
          sleepMilliseconds(20);
        }
      });
    }
    while (held < 3) {
      sleepMilliseconds(1);
    }
    const double before = cpuSeconds();
    sleepMilliseconds(1000);
    used = cpuSeconds() - before;
    EXPECT_EQ(held, 3);
    leave = true;
    for (std::thread &rank : ranks) {
      rank.join();
    }
  }
  EXPECT_LT(used, 0.1);
}

TEST(TilePool, ASteadyLoopAllocatesNothing) {
  const std::unique_ptr<TilePool> pool = makePool(3);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      const TilePool::Lease lease(*pool);
    }
  });
  sleepMilliseconds(10);
  const std::uint64_t before = allocationCount();
  for (int task = 0; task < 1000; ++task) {
    const TilePool::Lease lease(*pool);
    runTiles(*pool, 5, [](int, int) {});
  }
  EXPECT_EQ(allocationCount(), before);
  stop = true;
  other.join();
  EXPECT_GT(before, 0u);
}

TEST(TilePool, NoThreadsIsAnError) {
  const Result<std::unique_ptr<TilePool>> pool = TilePool::create(0);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().kind, ErrorKind::User);
  EXPECT_EQ(pool.error().place, "--threads");
}

TEST(TilePool, AnAbsurdNumberOfThreadsIsAnError) {
  const auto begin = std::chrono::steady_clock::now();
  const Result<std::unique_ptr<TilePool>> pool = TilePool::create(50000);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().kind, ErrorKind::User);
  EXPECT_EQ(pool.error().place, "--threads");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1)); // no memory was touched
}

TEST(TilePoolDeathTest, MisuseEndsTheProgramWithAMessage) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        const std::unique_ptr<TilePool> pool = makePool(2);
        runTiles(*pool, 2, [](int, int) {});
      },
      "holds no lease");
  EXPECT_DEATH(
      {
        const std::unique_ptr<TilePool> pool = makePool(2);
        const TilePool::Lease lease(*pool);
        const TilePool::Lease second(*pool);
      },
      "asks for another");
  EXPECT_DEATH(
      {
        const std::unique_ptr<TilePool> pool = makePool(2);
        const TilePool::Lease lease(*pool);
        runTiles(*pool, 8, [&](int, int) {
          sleepMilliseconds(1);
          runTiles(*pool, 2, [](int, int) {});
        });
      },
      "a tile runs tiles|holds no lease");
}

} // namespace
