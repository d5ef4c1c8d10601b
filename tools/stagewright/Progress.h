// A progress bar on stderr, for terminals.
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_PROGRESS_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_PROGRESS_H

#include <chrono>
#include <cstdint>

namespace stagewright::program {

/// Draws at most ten times a second, from the first half second on. Never allocates.
class Progress {
public:
  explicit Progress(bool enabled) : enabled(enabled) {}

  /// `done` of `all`, and what else to show.
  void show(std::uint64_t done, std::uint64_t all, const char *rest);
  /// Takes the bar away, so that a line can be printed.
  void clear();

private:
  using Clock = std::chrono::steady_clock;
  bool enabled, drawn = false;
  Clock::time_point begin = Clock::now(), last = begin;
};

} // namespace stagewright::program

#endif
