// What a rank tells the watchdog. One writer (the rank's thread), any readers; nothing here waits or
// allocates.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_RANKSTATUS_H
#define STAGEWRIGHT_RUNTIME_EXEC_RANKSTATUS_H

#include "runtime/device/Futex.h"

#include <atomic>
#include <cstdint>

namespace stagewright::runtime {

class RankStatus {
public:
  /// `text` outlives the status.
  void begin(std::uint64_t currentStep, const char *text) {
    step.store(currentStep, std::memory_order_relaxed);
    since.store(monotonicNanoseconds(), std::memory_order_relaxed);
    task.store(text, std::memory_order_relaxed);
    advance();
  }
  /// A part of a task is done.
  void advance() { moves.store(moves.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
  /// The rank's thread has nothing left to do.
  void finish() {
    task.store(nullptr, std::memory_order_relaxed);
    advance();
  }
  /// Around a callback, which may take its time: until it is back the rank counts as moving.
  void leave() { away.store(true, std::memory_order_relaxed); }
  void comeBack() {
    away.store(false, std::memory_order_relaxed);
    advance();
  }

  struct Snapshot {
    std::uint64_t moves = 0, step = 0;
    std::int64_t since = 0;     ///< when the task began, nanoseconds
    const char *task = nullptr; ///< null: not in a step
    bool away = false;          ///< in a callback
  };
  Snapshot look() const {
    const std::uint64_t seen = moves.load(std::memory_order_acquire);
    return {seen, step.load(std::memory_order_relaxed), since.load(std::memory_order_relaxed),
            task.load(std::memory_order_relaxed), away.load(std::memory_order_relaxed)};
  }

private:
  std::atomic<std::uint64_t> moves{0}, step{0};
  std::atomic<std::int64_t> since{0};
  std::atomic<const char *> task{nullptr};
  std::atomic<bool> away{false};
};

} // namespace stagewright::runtime

#endif
