// How a signal handler asks a run to stop.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_INTERRUPT_H
#define STAGEWRIGHT_RUNTIME_EXEC_INTERRUPT_H

#include <atomic>

namespace stagewright::runtime {

/// Raised once; ranks look at it between tasks, and waits end within 50 ms. Safe to raise in a signal
/// handler.
class InterruptFlag {
public:
  void raise() noexcept { value.store(true, std::memory_order_relaxed); }
  bool raised() const noexcept { return value.load(std::memory_order_relaxed); }

private:
  std::atomic<bool> value{false};
  static_assert(std::atomic<bool>::is_always_lock_free);
};

} // namespace stagewright::runtime

#endif
