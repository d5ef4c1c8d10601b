// Memory of a plan: one arena per arena of the .stage file.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_ARENA_H
#define STAGEWRIGHT_RUNTIME_DEVICE_ARENA_H

#include <atomic>
#include <cstddef>
#include <string>

namespace stagewright::runtime {

/// Bytes of the living arenas of a device.
struct ArenaTotals {
  std::atomic<std::size_t> planned{0}; ///< as asked for
  std::atomic<std::size_t> mapped{0};  ///< rounded up to pages; guard pages are not counted
};

/// A range of zeroed memory between two guard pages, resident from the start:
///
///     | guard page, no access | bytes(), up to a page end | guard page, no access |
///                             ^ data(): page-aligned, 2 MiB-aligned from 2 MiB on
class Arena {
public:
  Arena() = default;
  Arena(Arena &&other) noexcept;
  Arena &operator=(Arena &&other) noexcept;
  ~Arena() { release(); }

  const std::string &name() const { return label; }
  std::byte *data() const { return start; }
  std::size_t bytes() const { return planned; }
  std::size_t mappedBytes() const { return mapped; }

  /// Fills bytes [offset, offset + count) with a pattern that is NaN in f16, bf16, f32 and f64, so that a
  /// value which is used without having been written shows up in the result.
  void poison(std::size_t offset, std::size_t count);

  /// Gives the memory back; the arena is empty then.
  void release();

private:
  friend class HostDevice;
  std::string label;
  std::byte *start = nullptr;
  std::size_t planned = 0;
  std::size_t mapped = 0;
  ArenaTotals *totals = nullptr;
};

} // namespace stagewright::runtime

#endif
