// Inside runtime/comm: memory of a rank that the other ranks of its machine map too.
#ifndef STAGEWRIGHT_RUNTIME_COMM_SHAREDWINDOW_H
#define STAGEWRIGHT_RUNTIME_COMM_SHAREDWINDOW_H

#include "runtime/device/Futex.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

namespace stagewright::runtime {

/// Where one thread sleeps until one of another process rings.
struct SharedBell {
  std::atomic<std::uint32_t> rings{0};
  std::atomic<std::uint32_t> asleep{0};

  void ring() {
    rings.fetch_add(1);
    if (asleep.load() != 0) {
      futexWake(&rings, 1, FutexScope::Shared);
    }
  }
  /// Sleeps until somebody has rung since `rings` was `seen`, at most that long (negative: without end).
  void sleep(std::uint32_t seen, std::int64_t nanoseconds = -1) {
    asleep.store(1); // whoever rings from here on wakes us, or has changed `rings` before we look
    futexWait(rings, seen, nanoseconds, FutexScope::Shared);
    asleep.store(0);
  }
};

/// Of the MPI thread of a rank.
struct MpiBell : SharedBell {
  /// Receives of other ranks that take from this one at the moment: it has to keep polling for them to get
  /// on.
  std::atomic<std::uint32_t> takers{0};
};

/// The bells of a rank, and what it puts out for the others in collectives.
struct alignas(64) SharedWindow {
  /// A round of a collective fills one slot; three rounds are under way.
  static constexpr std::size_t kSlots = 3, kSlotBytes = 256 << 10;
  /// A cache line for each writer.
  struct alignas(64) Count {
    std::atomic<std::uint64_t> value{0};
  };

  std::byte slots[kSlots][kSlotBytes];
  alignas(64) MpiBell mpiBell;
  alignas(64) SharedBell bell; ///< of the rank's thread in a collective

  static std::size_t bytes(int ranks) {
    return sizeof(SharedWindow) + sizeof(Count) * static_cast<std::size_t>(ranks);
  }
  static SharedWindow *make(void *memory, int ranks) {
    auto *window = new (memory) SharedWindow;
    for (int rank = 0; rank < ranks; ++rank) {
      new (&window->count(rank)) Count;
    }
    return window;
  }
  /// How many steps of collectives `rank` has done together with the rank of this window; `rank` writes it.
  std::atomic<std::uint64_t> &doneBy(int rank) { return count(rank).value; }

private:
  Count &count(int rank) { return reinterpret_cast<Count *>(this + 1)[rank]; }
};

} // namespace stagewright::runtime

#endif
