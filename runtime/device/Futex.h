// Waiting: a short spin, then a sleep in the kernel that another thread or process ends.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_FUTEX_H
#define STAGEWRIGHT_RUNTIME_DEVICE_FUTEX_H

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace stagewright::runtime {

/// The longest spin before a thread goes to sleep.
inline constexpr std::int64_t kSpinNanoseconds = 20'000;

/// Whether a futex word is seen by one process, or lies in memory shared by several.
enum class FutexScope { Process, Shared };

/// Nanoseconds of the monotonic clock, the clock of every time stamp of the runtime.
inline std::int64_t monotonicNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Sleeps while `word` holds `expected`, for at most `timeout` nanoseconds (negative: without end). May
/// return early, so callers check their condition again.
inline void futexWait(const std::atomic<std::uint32_t> &word, std::uint32_t expected,
                      std::int64_t timeout = -1, FutexScope scope = FutexScope::Process) {
  const int flags = scope == FutexScope::Process ? FUTEX_PRIVATE_FLAG : 0;
  const timespec limit{timeout / 1'000'000'000, timeout % 1'000'000'000};
  const int savedErrno = errno;
  syscall(SYS_futex, &word, FUTEX_WAIT | flags, expected, timeout < 0 ? nullptr : &limit, nullptr, 0);
  errno = savedErrno;
}

/// Wakes up to `sleepers` threads that sleep on `word`. Only the address is used, so the word may be gone
/// already.
inline void futexWake(const std::atomic<std::uint32_t> *word, int sleepers,
                      FutexScope scope = FutexScope::Process) {
  const int flags = scope == FutexScope::Process ? FUTEX_PRIVATE_FLAG : 0;
  const int savedErrno = errno;
  syscall(SYS_futex, word, FUTEX_WAKE | flags, sleepers, nullptr, nullptr, 0);
  errno = savedErrno;
}

/// Asks `condition` again and again for at most `nanoseconds`; returns its last answer.
template <typename Condition>
bool spinUntil(std::int64_t nanoseconds, Condition condition) {
  if (condition()) {
    return true;
  }
  if (nanoseconds <= 0) {
    return false;
  }
  const std::int64_t end = monotonicNanoseconds() + nanoseconds;
  do {
    for (int i = 0; i < 16; ++i) {
      __builtin_ia32_pause();
    }
    if (condition()) {
      return true;
    }
  } while (monotonicNanoseconds() < end);
  return false;
}

} // namespace stagewright::runtime

#endif
