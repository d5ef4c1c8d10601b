#include "Progress.h"

#include <cstdio>
#include <unistd.h>

namespace stagewright::program {

void Progress::show(std::uint64_t done, std::uint64_t all, const char *rest) {
  Clock::time_point now = Clock::now();
  if (!enabled || now - begin < std::chrono::milliseconds(500) ||
      now - last < std::chrono::milliseconds(100)) {
    return;
  }
  last = now;
  drawn = true;
  static constexpr int kCells = 20;
  int full = all > 0 ? static_cast<int>(kCells * done / all) : 0;
  double elapsed = std::chrono::duration<double>(now - begin).count();
  double left = done > 0 ? elapsed * static_cast<double>(all - done) / static_cast<double>(done) : 0;
  char line[256];
  int length =
      std::snprintf(line, sizeof line, "\r\x1b[K[%.*s%.*s] %llu/%llu  %s  %.0f s left", full,
                    "####################", kCells - full, "....................",
                    static_cast<unsigned long long>(done), static_cast<unsigned long long>(all), rest, left);
  (void)!write(STDERR_FILENO, line,
               static_cast<std::size_t>(length < static_cast<int>(sizeof line) ? length : sizeof line - 1));
}

void Progress::clear() {
  if (drawn) {
    (void)!write(STDERR_FILENO, "\r\x1b[K", 4);
    drawn = false;
  }
}

} // namespace stagewright::program
