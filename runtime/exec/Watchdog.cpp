#include "runtime/exec/Watchdog.h"

#include <algorithm>
#include <cstdio>
#include <set>

namespace stagewright::runtime {

// The watchdog looks every 25 ms. When it comes much later the process has been stopped (Ctrl-Z), or got no
// core, nor did its ranks: that time does not count.
static constexpr std::chrono::milliseconds kBetweenLooks{25};
static constexpr std::int64_t kLongestLook = 250'000'000;

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

void Watchdog::pause() {
  std::lock_guard lock(mutex);
  paused = true;
}

// A short pause costs nothing: the thread falls asleep with its next look only.
void Watchdog::resume() {
  std::lock_guard lock(mutex);
  paused = false;
  if (asleep) {
    wake.notify_all();
  }
}

bool Watchdog::working() const {
  return std::any_of(ranks.begin(), ranks.end(),
                     [](const WatchedRank &rank) { return rank.status->look().task != nullptr; });
}

void Watchdog::watch() {
  const auto limit = static_cast<std::int64_t>(settings.seconds * 1e9);
  std::uint64_t seen = 0;
  std::int64_t since = now(), last = since;
  bool reported = false;
  std::unique_lock lock(mutex);
  for (std::uint64_t look = 1; !wake.wait_for(lock, kBetweenLooks, [this] { return stopping; }); ++look) {
    if (paused) {
      asleep = true;
      wake.wait(lock, [this] { return !paused || stopping; });
      asleep = false;
      since = last = this->now();
      continue;
    }
    if (settings.interrupt && settings.interrupt->raised()) {
      settings.end(Error{ErrorKind::Interrupted, "", "interrupted", ""});
      return;
    }
    const std::int64_t now = this->now();
    since += now - last > kLongestLook ? now - last : 0;
    last = now;
    note(now, look);
    const std::uint64_t current = movesOfJob();
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

/// Local ranks, for the watchdogs of all processes. Ranks in callbacks move with every look.
void Watchdog::note(std::int64_t now, std::uint64_t look) const {
  for (const WatchedRank &rank : ranks) {
    const RankStatus::Snapshot snapshot = rank.status->look();
    const Waiting waiting = rank.communicator->waitingOn();
    settings.board->write(rank.communicator->rank(),
                          {now, waiting.waits ? waiting.peer : JobBoard::kNobody,
                           snapshot.away ? snapshot.moves + look : snapshot.moves});
  }
}

/// Changes while a rank of this machine moves: a weighted sum, so that no two changes cancel out.
std::uint64_t Watchdog::movesOfJob() const {
  std::uint64_t hash = 0;
  for (int rank = 0; rank < ranks.front().communicator->size(); ++rank) {
    hash = 0x100000001b3 * hash + settings.board->read(rank).moves;
  }
  return hash;
}

/// Follows who waits for whom: rank 0 for rank 1, rank 1 for rank 2, rank 2 for nobody. A rank whose process
/// has not written for a while ends the chain as well: it is stopped, or dead, or on another machine.
Error Watchdog::standstill(std::int64_t now, std::int64_t since) const {
  const auto local = [&](int number) {
    return std::find_if(ranks.begin(), ranks.end(),
                        [&](const WatchedRank &rank) { return rank.communicator->rank() == number; });
  };
  auto start = std::find_if(ranks.begin(), ranks.end(),
                            [](const WatchedRank &rank) { return rank.status->look().task != nullptr; });
  start = start == ranks.end() ? ranks.begin() : start; // it has moved just now
  int stuck = start->communicator->rank();
  bool silent = false;
  for (std::set<int> visited; visited.insert(stuck).second;) {
    const JobBoard::Entry entry = settings.board->read(stuck);
    silent = local(stuck) == ranks.end() && entry.written < since;
    if (silent || entry.waitsFor == JobBoard::kNobody) {
      break;
    }
    stuck = entry.waitsFor;
  }
  const auto found = local(stuck);
  const std::string text = found != ranks.end() ? where(found->status->look())
                           : silent             ? "and its process does not answer"
                                                : "in another process";
  return rankError("rank " + std::to_string(stuck),
                   "the rank stands still " + text + ": nothing has moved for " + secondsText(now - since),
                   "the lines above say where each rank is; --watchdog sets the patience");
}

} // namespace stagewright::runtime
