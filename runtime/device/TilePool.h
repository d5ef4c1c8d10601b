// The threads that compute: one pool per process, shared by all of its ranks.
//
// There are N permits, numbered 0..N-1 (the worker numbers). A rank's thread holds one while it computes a
// task; inside the task, run() spreads tiles over that thread and over helper threads that take permits which
// no rank wants. So never more than N threads compute, and the cores of ranks that wait help the others:
//
//     permit 0   rank 0: F3 ##########          rank 0: F4 #######
//     permit 1   rank 1: F2 ####  helper: F3 ##   helper: F4 #####
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_TILEPOOL_H
#define STAGEWRIGHT_RUNTIME_DEVICE_TILEPOOL_H

#include "error/Error.h"
#include "kernels/host/TileRunner.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace stagewright::runtime {

/// Told of every busy interval of a worker, by the thread that was busy: the length of a Lease, or of a
/// helper's visit. Times are nanoseconds of the monotonic clock.
struct BusyTrace {
  void (*busy)(void *context, int worker, std::int64_t begin, std::int64_t end) = nullptr;
  void *context = nullptr;
};

class TilePool final : public kernels::TileRunner {
public:
  /// A pool of `threads` >= 1 permits and threads - 1 helper threads. Each helper calls `threadStart` first
  /// (for example kernels::setFlushToZero). Nothing is allocated after this. Errors: User (threads < 1,
  /// or more than 1024 and than cores), Environment.
  static Result<std::unique_ptr<TilePool>> create(int threads, void (*threadStart)() = nullptr,
                                                  BusyTrace trace = {});
  /// No lease may be held.
  ~TilePool() override;

  int threads() const { return static_cast<int>(jobs.size()); }

  /// A permit, held by the calling thread for the length of a compute task. Waits (asleep) until one is free;
  /// ranks get permits in the order in which they asked, before helpers. A thread holds one lease at a time,
  /// and does not wait for other ranks while it does.
  class Lease {
  public:
    explicit Lease(TilePool &pool);
    ~Lease();
    Lease(const Lease &) = delete;
    Lease &operator=(const Lease &) = delete;

    int worker() const { return number; }

  private:
    TilePool &pool;
    int number;
    std::int64_t begin;
  };

  /// See TileRunner. The calling thread holds a Lease of this pool and is not inside a tile; anything else
  /// ends the program with a message.
  void run(int tiles, void (*tile)(void *context, int index, int worker), void *context) override;
  void *scratch(int worker) override;

private:
  /// What the holder of a permit wants done. The fields above the line are guarded by `mutex`.
  struct alignas(64) Job {
    int tiles = 0; ///< 0: nothing to help with
    int helpers = 0;
    void (*tile)(void *context, int index, int worker) = nullptr;
    void *context = nullptr;
    // ---
    std::atomic<int> next{0};                  ///< the first tile that nobody has taken
    std::atomic<std::uint32_t> helpersLeft{0}; ///< 1: the last helper of a finished job has gone
  };
  /// A rank that waits for a permit; lies on its stack.
  struct Waiter {
    Waiter *next = nullptr;
    int worker = -1;
    std::atomic<std::uint32_t> granted{0};
  };

  TilePool(int threads, std::byte *scratchMemory, void (*threadStart)(), BusyTrace trace);
  int acquire();
  void release(int worker);
  /// Gives a permit to the first waiting rank, or puts it back. Returns the word on which that rank sleeps,
  /// or null.
  std::atomic<std::uint32_t> *passOn(int worker);
  Job *jobWithMostTilesLeft();
  void helpUntilStopped();
  void visit(int worker, Job *job, std::unique_lock<std::mutex> &lock);
  void waitForWork(std::uint32_t seen);
  void announceWork(int helpersWanted);

  std::mutex mutex;
  std::vector<Job> jobs;        ///< [threads] of the holder of each permit
  std::vector<int> freeWorkers; ///< a stack in [0, freeCount)
  int freeCount = 0;            ///< > 0 only while no rank waits
  Waiter *firstWaiter = nullptr;
  Waiter *lastWaiter = nullptr;
  bool stopping = false;

  std::atomic<int> waitingRanks{0};
  std::atomic<std::uint32_t> work{0}; ///< changes when there is something new for helpers
  std::atomic<int> sleepingHelpers{0};

  std::byte *scratchMemory; ///< [threads][kTileScratchBytes]
  void (*threadStart)();
  BusyTrace trace;
  std::int64_t spin; ///< nanoseconds; 0 when there are more threads than cores
  std::vector<std::thread> helpers;
};

} // namespace stagewright::runtime

#endif
