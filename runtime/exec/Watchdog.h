// Watches the ranks of a process: says who stands where when nothing moves, ends the run when that goes on,
// and ends it at once when it is interrupted.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_WATCHDOG_H
#define STAGEWRIGHT_RUNTIME_EXEC_WATCHDOG_H

#include "runtime/comm/Communicator.h"
#include "runtime/exec/Interrupt.h"
#include "runtime/exec/JobBoard.h"
#include "runtime/exec/RankStatus.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace stagewright::runtime {

struct WatchedRank {
  const RankStatus *status = nullptr;
  Communicator *communicator = nullptr;
};

class Watchdog {
public:
  struct Settings {
    /// When no rank of this machine has moved (ended a task, a kernel or a wait) for so long, one line per
    /// local rank is printed: its task, what it waits for, since when. After as long again the run is ended
    /// with an error of kind Rank that names the rank that stands still. A rank in a callback counts as
    /// moving; time in which this process was stopped does not count. 0: never.
    double seconds = 60;
    /// Where the watchdogs of all processes of this machine note how far their ranks are.
    JobBoard *board = nullptr;
    const InterruptFlag *interrupt = nullptr;
    /// Ends the run of all ranks; called once at most, on the watchdog's thread.
    std::function<void(const Error &)> end;
    /// Takes a line without its end; null: stderr.
    std::function<void(const std::string &)> print;
    /// Nanoseconds; null: those of the monotonic clock.
    std::function<std::int64_t()> clock;
  };

  /// Starts to watch; stops in the destructor. All that is passed outlives the watchdog.
  Watchdog(std::vector<WatchedRank> ranks, Settings settings);
  ~Watchdog();

  /// Between runs of the ranks there is nothing to watch, and the thread sleeps. In pause() it may still end
  /// the run that it watched.
  void pause();
  void resume();

private:
  void watch();
  std::int64_t now() const { return settings.clock ? settings.clock() : monotonicNanoseconds(); }
  bool working() const;
  void note(std::int64_t now, std::uint64_t look) const;
  std::uint64_t movesOfJob() const;
  void report(std::int64_t now) const;
  Error standstill(std::int64_t now, std::int64_t since) const;

  const std::vector<WatchedRank> ranks;
  const Settings settings;
  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false, paused = false;
  bool asleep = false; ///< because of a pause
  std::thread thread;
};

} // namespace stagewright::runtime

#endif
