#include "runtime/exec/Watchdog.h"

#include <algorithm>
#include <cstdio>
#include <set>

namespace stagewright::runtime {

static std::string secondsText(std::int64_t nanoseconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(nanoseconds) * 1e-9);
  return text;
}

Watchdog::Watchdog(std::vector<WatchedRank> ranks, Settings settings)
    : ranks(std::move(ranks)), settings(std::move(settings)), thread([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(mutex);
    stopping = true;
  }
  wake.notify_all();
  thread.join();
}

std::uint64_t Watchdog::moves() const {
  std::uint64_t sum = 0;
  for (const WatchedRank &rank : ranks) {
    sum += rank.status->look().moves;
  }
  return sum;
}

bool Watchdog::working() const {
  return std::any_of(ranks.begin(), ranks.end(),
                     [](const WatchedRank &rank) { return rank.status->look().task != nullptr; });
}

void Watchdog::watch() {
  const auto limit = static_cast<std::int64_t>(settings.seconds * 1e9);
  std::uint64_t seen = moves();
  std::int64_t since = monotonicNanoseconds();
  bool reported = false;
  std::unique_lock lock(mutex);
  while (!wake.wait_for(lock, std::chrono::milliseconds(25), [this] { return stopping; })) {
    if (settings.interrupt && settings.interrupt->raised()) {
      settings.end(Error{ErrorKind::Interrupted, "", "interrupted", ""});
      return;
    }
    const std::int64_t now = monotonicNanoseconds();
    const std::uint64_t current = moves();
    if (current != seen || !working()) {
      seen = current;
      since = now;
      reported = false;
      continue;
    }
    if (limit <= 0 || now - since < limit) {
      continue;
    }
    if (!reported) {
      report(now);
      reported = true;
    } else if (now - since >= 2 * limit) {
      settings.end(standstill(now, since));
      return;
    }
  }
}

static std::string where(const RankStatus::Snapshot &snapshot) {
  return snapshot.task ? std::string("in ") + snapshot.task + " of step " + std::to_string(snapshot.step)
                       : "between steps";
}

void Watchdog::report(std::int64_t now) const {
  for (const WatchedRank &rank : ranks) {
    const RankStatus::Snapshot snapshot = rank.status->look();
    const Waiting waiting = rank.communicator->waitingOn();
    std::string line = "stagewright: watchdog: rank " + std::to_string(rank.communicator->rank()) + " is " +
                       where(snapshot) + ", " + waiting.text();
    if (waiting.waits) {
      line += ", since " + secondsText(now - waiting.since);
    } else if (snapshot.task) {
      line += ", since " + secondsText(now - snapshot.since);
    }
    if (settings.print) {
      settings.print(line);
    } else {
      std::fprintf(stderr, "%s\n", line.c_str());
    }
  }
}

/// Follows who waits for whom: rank 0 waits for rank 1, rank 1 for rank 2, rank 2 waits for nobody and does
/// not move.
Error Watchdog::standstill(std::int64_t now, std::int64_t since) const {
  int stuck = -1;
  std::set<int> visited;
  for (const WatchedRank &start : ranks) {
    if (start.status->look().task) {
      stuck = start.communicator->rank();
      break;
    }
  }
  const auto local = [&](int number) {
    return std::find_if(ranks.begin(), ranks.end(),
                        [&](const WatchedRank &rank) { return rank.communicator->rank() == number; });
  };
  for (auto rank = local(stuck); rank != ranks.end() && visited.insert(stuck).second; rank = local(stuck)) {
    const Waiting waiting = rank->communicator->waitingOn();
    if (!waiting.waits) {
      break;
    }
    stuck = waiting.peer;
  }
  const auto found = local(stuck);
  const std::string text = found == ranks.end() ? "in another process" : where(found->status->look());
  return rankError("rank " + std::to_string(stuck),
                   "the rank stands still " + text + ": nothing has moved for " + secondsText(now - since),
                   "the lines above say where each rank is; --watchdog sets the patience");
}

} // namespace stagewright::runtime
