#include "schedule/TaskTable.h"

#include <algorithm>
#include <queue>

namespace stagewright::schedule {

namespace {

/// B for I and W, and `half` (I or W) for a wanted B.
bool standsFor(TaskKind kind, TaskKind wanted, TaskKind half) {
  return includes(kind, wanted) || (kind == half && wanted == TaskKind::Backward);
}

TaskKind sendOf(const Lifetime &lifetime) {
  const bool forward = lifetime.first == TaskKind::Forward || lifetime.first == TaskKind::ReceiveForward;
  return forward ? TaskKind::SendForward : TaskKind::SendBackward;
}

/// The rank that holds a stage, or -1.
int rankOf(const Schedule &schedule, int stage) {
  if (stage < 0 || static_cast<std::size_t>(stage) >= schedule.rankOfStage.size()) {
    return -1;
  }
  const int rank = schedule.rankOfStage[stage];
  return rank < schedule.rankCount() ? rank : -1;
}

/// When the rank is through with each entry of its list. Only compute tasks take time.
std::vector<double> endTimes(const std::vector<Task> &tasks, const std::vector<TimedTask> &timed) {
  std::vector<double> times;
  std::size_t computed = 0;
  for (const Task &task : tasks) {
    times.push_back(isCompute(task.kind) ? timed[computed++].end : times.empty() ? 0 : times.back());
  }
  return times;
}

// A send is in flight from its SEND until the receiver has come by its RECV, if that is later:
//
//   sender    F0 SEND_F0 F1 SEND_F1 F2 ...        F2 may not overwrite the slot of F0 when the receiver
//   receiver  (busy .................) RECV_F0    only comes by RECV_F0 here
void extendOverFlights(const Schedule &schedule, const Lifetime &lifetime,
                       std::vector<LiveRange> &intervals) {
  const bool forward = sendOf(lifetime) == TaskKind::SendForward;
  const int rank = rankOf(schedule, lifetime.stage), peerStage = lifetime.stage + (forward ? 1 : -1);
  const int peer = rankOf(schedule, peerStage);
  Result<Timeline> timeline = simulate(schedule);
  if (peer < 0 || peer == rank || !timeline) {
    return;
  }
  const std::vector<Task> &tasks = schedule.ranks[rank], &peerTasks = schedule.ranks[peer];
  const std::vector<double> ends = endTimes(tasks, timeline->ranks[rank]);
  const std::vector<double> peerEnds = endTimes(peerTasks, timeline->ranks[peer]);
  std::vector<double> starts = ends;
  std::size_t computed = 0;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (isCompute(tasks[i].kind)) {
      starts[i] = timeline->ranks[rank][computed++].start;
    }
  }
  const TaskKind receive = forward ? TaskKind::ReceiveForward : TaskKind::ReceiveBackward;
  for (std::size_t i = 0; i < peerTasks.size(); ++i) {
    if (peerTasks[i].kind == receive && peerTasks[i].stage == peerStage) {
      // The last task that starts before the transfer is complete.
      auto later = std::lower_bound(starts.begin(), starts.end(), peerEnds[i]);
      int &end = intervals[peerTasks[i].microBatch].end;
      end = std::max(end, static_cast<int>(later - starts.begin()) - 1);
    }
  }
}

std::vector<int> byBegin(const std::vector<LiveRange> &intervals) {
  std::vector<int> order;
  for (int k = 0; k < static_cast<int>(intervals.size()); ++k) {
    if (intervals[k].begin >= 0) {
      order.push_back(k);
    }
  }
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return intervals[a].begin < intervals[b].begin; });
  return order;
}

} // namespace

std::vector<LiveRange> liveRanges(const std::vector<Task> &tasks, int microBatches,
                                  const Lifetime &lifetime) {
  std::vector<LiveRange> intervals(microBatches);
  std::vector<int> lastCompute(microBatches, -1), lastUse(microBatches, -1);
  for (int position = 0; position < static_cast<int>(tasks.size()); ++position) {
    const Task &task = tasks[position];
    const int k = task.microBatch;
    if (task.stage != lifetime.stage || !hasMicroBatch(task.kind) || k < 0 || k >= microBatches) {
      continue;
    }
    if (standsFor(task.kind, lifetime.first, TaskKind::BackwardInput)) {
      intervals[k].begin = position;
    }
    if (standsFor(task.kind, lifetime.last, TaskKind::BackwardWeight)) {
      lastUse[k] = position;
    }
    if (isCompute(task.kind)) {
      lastCompute[k] = position;
    }
    if (lifetime.sent && task.kind == sendOf(lifetime)) {
      intervals[k].end = position;
    }
  }
  for (int k = 0; k < microBatches; ++k) {
    const int use = hasMicroBatch(lifetime.last) ? (lastUse[k] >= 0 ? lastUse[k] : lastCompute[k])
                                                 : static_cast<int>(tasks.size());
    intervals[k].end = std::max({intervals[k].begin, intervals[k].end, use});
  }
  return intervals;
}

// Interval colouring: in the order of the begins, each value takes the lowest slot whose last value has
// ended. The number of slots is the largest number of values that live at once, and no assignment has fewer.
SlotAssignment assignSlots(const Schedule &schedule, const Lifetime &lifetime) {
  const int rank = rankOf(schedule, lifetime.stage);
  SlotAssignment assignment{1, std::vector<std::uint16_t>(std::max(schedule.microBatches, 0), 0)};
  if (rank < 0) {
    return assignment;
  }
  std::vector<LiveRange> intervals = liveRanges(schedule.ranks[rank], schedule.microBatches, lifetime);
  if (lifetime.sent) {
    extendOverFlights(schedule, lifetime, intervals);
  }
  using Busy = std::pair<int, int>; // end, slot
  std::priority_queue<Busy, std::vector<Busy>, std::greater<>> busy;
  std::priority_queue<int, std::vector<int>, std::greater<>> free;
  free.push(0);
  for (int k : byBegin(intervals)) {
    for (; !busy.empty() && busy.top().first < intervals[k].begin; busy.pop()) {
      free.push(busy.top().second);
    }
    if (free.empty()) {
      free.push(assignment.slots++);
    }
    assignment.slotOf[k] = static_cast<std::uint16_t>(free.top());
    busy.emplace(intervals[k].end, free.top());
    free.pop();
  }
  return assignment;
}

Result<void> verifySlots(const Schedule &schedule, const Lifetime &lifetime,
                         const SlotAssignment &assignment) {
  const int rank = rankOf(schedule, lifetime.stage);
  if (rank < 0) {
    return userError("slots", "stage " + std::to_string(lifetime.stage) + " is out of range");
  }
  const std::string place = "slots of stage " + std::to_string(lifetime.stage);
  if (schedule.microBatches < 1 ||
      assignment.slotOf.size() != static_cast<std::size_t>(schedule.microBatches)) {
    return userError(place, "there are " + std::to_string(schedule.microBatches) +
                                " micro-batches, but slots are given for " +
                                std::to_string(assignment.slotOf.size()));
  }
  for (std::size_t k = 0; k < assignment.slotOf.size(); ++k) {
    if (assignment.slotOf[k] >= assignment.slots) {
      return userError(place, "micro-batch " + std::to_string(k) + " uses slot " +
                                  std::to_string(assignment.slotOf[k]) + " of " +
                                  std::to_string(assignment.slots));
    }
  }
  const std::vector<LiveRange> intervals = liveRanges(schedule.ranks[rank], schedule.microBatches, lifetime);
  std::vector<int> owner(*std::max_element(assignment.slotOf.begin(), assignment.slotOf.end()) + 1, -1);
  for (int k : byBegin(intervals)) {
    int &before = owner[assignment.slotOf[k]];
    if (before >= 0 && intervals[before].end >= intervals[k].begin) {
      return errorAt(schedule, {rank, intervals[k].begin},
                     "the task writes slot " + std::to_string(assignment.slotOf[k]) + " while micro-batch " +
                         std::to_string(before) + " still needs what it holds");
    }
    before = k;
  }
  return {};
}

} // namespace stagewright::schedule
