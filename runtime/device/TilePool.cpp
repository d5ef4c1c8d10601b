#include "runtime/device/TilePool.h"

#include "runtime/device/Futex.h"
#include "runtime/device/RankPinning.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <string>
#include <sys/mman.h>
#include <system_error>

namespace stagewright::runtime {
namespace {

/// Each has scratch memory that is touched before it starts; more than this is a slip of the finger.
constexpr int kMostThreads = 1024;

/// The permit that the calling thread holds.
struct Seat {
  TilePool *pool = nullptr;
  int worker = -1;
};
thread_local Seat seat;

[[noreturn]] void stop(const char *reason) {
  std::fprintf(stderr, "stagewright: bug in the use of TilePool: %s\n", reason);
  std::abort();
}

void sleepUntilSet(std::atomic<std::uint32_t> &word, std::int64_t spin) {
  const auto isSet = [&] { return word.load(std::memory_order_acquire) != 0; };
  if (!spinUntil(spin, isSet)) {
    while (!isSet()) {
      futexWait(word, 0);
    }
  }
}

std::size_t scratchBytes(int threads) {
  return static_cast<std::size_t>(threads) * kernels::kTileScratchBytes;
}

} // namespace

Result<std::unique_ptr<TilePool>> TilePool::create(int threads, void (*threadStart)(), BusyTrace trace) {
  if (threads < 1) {
    return userError("--threads", std::to_string(threads) + " threads cannot compute", "give 1 or more");
  }
  if (const int most = std::max(kMostThreads, usableCores()); threads > most) {
    return userError("--threads",
                     std::to_string(threads) + " threads are more than the " + std::to_string(most) +
                         " that a process may have",
                     "give as many as there are cores: " + std::to_string(usableCores()));
  }
  const std::size_t bytes = scratchBytes(threads);
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return environmentError("--threads",
                            "cannot allocate " + std::to_string(bytes) +
                                " bytes of scratch memory: " + std::strerror(errno),
                            "use fewer threads");
  }
  std::memset(memory, 0, bytes); // so that no tile meets a page fault
  std::unique_ptr<TilePool> pool(new TilePool(threads, static_cast<std::byte *>(memory), threadStart, trace));
  try {
    for (int i = 1; i < threads; ++i) {
      pool->helpers.emplace_back(&TilePool::helpUntilStopped, pool.get());
      pthread_setname_np(pool->helpers.back().native_handle(), ("tiles-" + std::to_string(i)).c_str());
    }
  } catch (const std::system_error &error) {
    return environmentError("--threads",
                            "cannot start " + std::to_string(threads) + " threads: " + error.what(),
                            "use fewer threads");
  }
  return pool;
}

TilePool::TilePool(int threads, std::byte *scratchMemory, void (*threadStart)(), BusyTrace trace)
    : jobs(threads), freeCount(threads), scratchMemory(scratchMemory), threadStart(threadStart), trace(trace),
      spin(threads <= usableCores() ? kSpinNanoseconds : 0) {
  for (int worker = threads - 1; worker >= 0; --worker) {
    freeWorkers.push_back(worker);
  }
  helpers.reserve(threads - 1);
}

TilePool::~TilePool() {
  {
    std::lock_guard lock(mutex);
    stopping = true;
    announceWork(threads());
  }
  for (std::thread &helper : helpers) {
    helper.join();
  }
  munmap(scratchMemory, scratchBytes(threads()));
}

TilePool::Lease::Lease(TilePool &pool) : pool(pool) {
  if (seat.pool) {
    stop("a thread that holds a lease asks for another one");
  }
  number = pool.acquire();
  seat = {&pool, number};
  begin = pool.trace.busy ? monotonicNanoseconds() : 0;
}

TilePool::Lease::~Lease() {
  if (pool.trace.busy) {
    pool.trace.busy(pool.trace.context, number, begin, monotonicNanoseconds());
  }
  seat = {};
  pool.release(number);
}

int TilePool::acquire() {
  Waiter self;
  {
    std::lock_guard lock(mutex);
    if (freeCount > 0) {
      return freeWorkers[--freeCount];
    }
    (lastWaiter ? lastWaiter->next : firstWaiter) = &self;
    lastWaiter = &self;
    waitingRanks.fetch_add(1, std::memory_order_relaxed);
  }
  sleepUntilSet(self.granted, 0); // all cores are at work: no spinning
  return self.worker;
}

std::atomic<std::uint32_t> *TilePool::passOn(int worker) {
  Waiter *waiter = firstWaiter;
  if (!waiter) {
    freeWorkers[freeCount++] = worker;
    return nullptr;
  }
  firstWaiter = waiter->next;
  if (!firstWaiter) {
    lastWaiter = nullptr;
  }
  waitingRanks.fetch_sub(1, std::memory_order_relaxed);
  waiter->worker = worker;
  std::atomic<std::uint32_t> *granted = &waiter->granted;
  granted->store(1, std::memory_order_release); // from here on the waiter may be gone
  return granted;
}

void TilePool::release(int worker) {
  std::atomic<std::uint32_t> *granted;
  {
    std::lock_guard lock(mutex);
    granted = passOn(worker);
    if (!granted && jobWithMostTilesLeft()) {
      announceWork(1);
    }
  }
  if (granted) {
    futexWake(granted, 1);
  }
}

TilePool::Job *TilePool::jobWithMostTilesLeft() {
  Job *best = nullptr;
  int most = 0;
  for (Job &job : jobs) {
    const int left = job.tiles - job.next.load(std::memory_order_relaxed);
    if (job.tiles > 0 && left > most) {
      best = &job;
      most = left;
    }
  }
  return best;
}

void TilePool::announceWork(int helpersWanted) {
  // Against a helper that is about to sleep: either it sees the new `work`, or we see it counted as sleeping.
  work.fetch_add(1, std::memory_order_seq_cst);
  if (sleepingHelpers.load(std::memory_order_seq_cst) > 0) {
    futexWake(&work, helpersWanted);
  }
}

void TilePool::waitForWork(std::uint32_t seen) {
  const auto changed = [&] { return work.load(std::memory_order_seq_cst) != seen; };
  if (spinUntil(spin, changed)) {
    return;
  }
  sleepingHelpers.fetch_add(1, std::memory_order_seq_cst);
  while (!changed()) {
    futexWait(work, seen);
  }
  sleepingHelpers.fetch_sub(1, std::memory_order_seq_cst);
}

void TilePool::helpUntilStopped() {
  if (threadStart) {
    threadStart();
  }
  std::unique_lock lock(mutex);
  while (!stopping) {
    Job *job = freeCount > 0 ? jobWithMostTilesLeft() : nullptr;
    if (job) {
      visit(freeWorkers[--freeCount], job, lock);
      continue;
    }
    const std::uint32_t seen = work.load(std::memory_order_seq_cst);
    lock.unlock();
    waitForWork(seen);
    lock.lock();
  }
}

// Computes tiles of `job`, then of other jobs, until there are none or a rank wants the permit.
void TilePool::visit(int worker, Job *job, std::unique_lock<std::mutex> &lock) {
  const std::int64_t begin = trace.busy ? monotonicNanoseconds() : 0;
  while (job) {
    ++job->helpers;
    const int tiles = job->tiles;
    const auto tile = job->tile;
    void *const context = job->context;
    lock.unlock();
    while (waitingRanks.load(std::memory_order_relaxed) == 0) {
      const int index = job->next.fetch_add(1, std::memory_order_relaxed);
      if (index >= tiles) {
        break;
      }
      tile(context, index, worker);
    }
    lock.lock();
    if (--job->helpers == 0 && job->tiles == 0) {
      job->helpersLeft.store(1, std::memory_order_release);
      futexWake(&job->helpersLeft, 1);
    }
    job = waitingRanks.load(std::memory_order_relaxed) == 0 ? jobWithMostTilesLeft() : nullptr;
  }
  if (trace.busy) {
    lock.unlock();
    trace.busy(trace.context, worker, begin, monotonicNanoseconds());
    lock.lock();
  }
  if (std::atomic<std::uint32_t> *granted = passOn(worker)) {
    futexWake(granted, 1);
  }
}

void TilePool::run(int tiles, void (*tile)(void *context, int index, int worker), void *context) {
  if (seat.pool != this) {
    stop("tiles are run by a thread that holds no lease of this pool");
  }
  const int worker = seat.worker;
  Job &job = jobs[worker];
  if (tiles <= 1 || threads() == 1) {
    for (int index = 0; index < tiles; ++index) {
      tile(context, index, worker);
    }
    return;
  }
  {
    std::lock_guard lock(mutex);
    if (job.tiles != 0) {
      stop("a tile runs tiles");
    }
    job.tile = tile;
    job.context = context;
    job.tiles = tiles;
    job.next.store(0, std::memory_order_relaxed);
    job.helpersLeft.store(0, std::memory_order_relaxed);
    if (freeCount > 0) {
      announceWork(std::min(freeCount, tiles - 1));
    }
  }
  for (int index; (index = job.next.fetch_add(1, std::memory_order_relaxed)) < tiles;) {
    tile(context, index, worker);
  }
  bool helped;
  {
    std::lock_guard lock(mutex);
    job.tiles = 0;
    helped = job.helpers > 0;
  }
  if (helped) {
    sleepUntilSet(job.helpersLeft, spin);
  }
}

void *TilePool::scratch(int worker) {
  return scratchMemory + static_cast<std::size_t>(worker) * kernels::kTileScratchBytes;
}

} // namespace stagewright::runtime
