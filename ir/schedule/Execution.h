// The one loop that runs task lists: the verifier runs it with blocking sends, the simulator with
// asynchronous ones.
#ifndef STAGEWRIGHT_SCHEDULE_EXECUTION_H
#define STAGEWRIGHT_SCHEDULE_EXECUTION_H

#include "schedule/TaskTable.h"

namespace stagewright::schedule {

/// Runs all lists as far as they get, each in order, and returns how many tasks of each rank ran. A task runs
/// when the one that `waitsFor(place)` names has run (position -1: it waits for none); an ALL_GATHER when
/// every rank has reached one. `ran(place)` is called as each task runs. Linear in the tasks: waiting costs
/// nothing, because each task remembers the rank that sleeps on it. Only tasks of one rank may wait for the
/// same task.
template <typename WaitsFor, typename Ran>
std::vector<int> execute(const Schedule &schedule, WaitsFor waitsFor, Ran ran) {
  const int ranks = schedule.rankCount();
  std::vector<int> next(ranks, 0), ready, gathering;
  std::vector<std::vector<int>> sleeper(ranks);
  for (int rank = ranks - 1; rank >= 0; --rank) {
    sleeper[rank].assign(schedule.ranks[rank].size(), -1);
    ready.push_back(rank);
  }
  while (!ready.empty()) {
    const int rank = ready.back();
    ready.pop_back();
    while (next[rank] < static_cast<int>(schedule.ranks[rank].size())) {
      const Place place{rank, next[rank]};
      if (schedule.ranks[rank][place.position].kind == TaskKind::AllGather) {
        gathering.push_back(rank);
        if (static_cast<int>(gathering.size()) == ranks) {
          for (int member : gathering) {
            ran(Place{member, next[member]++});
          }
          ready.swap(gathering);
          gathering.clear();
        }
        break;
      }
      const Place other = waitsFor(place);
      if (other.position >= next[other.rank]) {
        sleeper[other.rank][other.position] = rank;
        break;
      }
      ran(place);
      ++next[rank];
      if (sleeper[rank][place.position] >= 0) {
        ready.push_back(sleeper[rank][place.position]);
      }
    }
  }
  return next;
}

} // namespace stagewright::schedule

#endif
