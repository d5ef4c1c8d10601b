// A machine that knows nothing but the meaning of the tasks: it steps the ranks one task at a time, with
// blocking sends and in-order channels, and looks whether all of them reach the end.
#ifndef STAGEWRIGHT_TESTS_SCHEDULE_TASKMACHINE_H
#define STAGEWRIGHT_TESTS_SCHEDULE_TASKMACHINE_H

#include "schedule/Schedule.h"

#include <algorithm>
#include <map>
#include <set>

namespace stagewright::schedule {

enum Verdict { Accepted, Incomplete, WrongMessage, OutOfOrder, Deadlock, kVerdicts };

/// Owner and holder of every exchange that some task is part of.
inline std::set<std::pair<int, int>> exchanges(const Schedule &schedule) {
  std::set<std::pair<int, int>> pairs;
  for (const std::vector<Task> &tasks : schedule.ranks) {
    for (const Task &task : tasks) {
      if (task.kind == TaskKind::SendSum || task.kind == TaskKind::ReceiveWeight) {
        pairs.insert({task.microBatch, task.stage});
      } else if (task.kind == TaskKind::ReceiveSum || task.kind == TaskKind::SendWeight) {
        pairs.insert({task.stage, task.microBatch});
      }
    }
  }
  return pairs;
}

inline bool hasAny(const Schedule &schedule, TaskKind kind) {
  for (const std::vector<Task> &tasks : schedule.ranks) {
    for (const Task &task : tasks) {
      if (task.kind == kind) {
        return true;
      }
    }
  }
  return false;
}

/// The tasks that a rank has to have, from the obligations; I and W where the rank has no B.
inline std::vector<Task> expectedTasks(const Schedule &schedule, int rank, bool training) {
  const std::set<Task> present(schedule.ranks[rank].begin(), schedule.ranks[rank].end());
  const int last = schedule.stages - 1;
  auto elsewhere = [&](int stage) {
    return stage >= 0 && stage <= last && schedule.rankOfStage[stage] != rank;
  };
  std::vector<Task> expected{{TaskKind::AllGather, -1, -1}};
  for (auto [owner, holder] : exchanges(schedule)) {
    if (schedule.rankOfStage[owner] == rank) {
      expected.insert(expected.end(),
                      {{TaskKind::ReceiveSum, owner, holder}, {TaskKind::SendWeight, owner, holder}});
    }
    if (schedule.rankOfStage[holder] == rank) {
      expected.insert(expected.end(),
                      {{TaskKind::SendSum, holder, owner}, {TaskKind::ReceiveWeight, holder, owner}});
    }
  }
  for (int s = 0; s <= last; ++s) {
    if (schedule.rankOfStage[s] != rank) {
      continue;
    }
    if (training) {
      expected.insert(expected.end(),
                      {{TaskKind::Prepare, s, -1}, {TaskKind::Norm, s, -1}, {TaskKind::Update, s, -1}});
      for (TaskKind ofReplicas : {TaskKind::Reduce, TaskKind::Gather}) {
        if (hasAny(schedule, ofReplicas)) {
          expected.push_back({ofReplicas, s, -1});
        }
      }
    } else if (present.contains({TaskKind::Prepare, s, -1})) {
      expected.push_back({TaskKind::Prepare, s, -1});
    }
    for (int k = 0; k < schedule.microBatches; ++k) {
      expected.push_back({TaskKind::Forward, s, k});
      if (elsewhere(s - 1)) {
        expected.push_back({TaskKind::ReceiveForward, s, k});
      }
      if (elsewhere(s + 1)) {
        expected.push_back({TaskKind::SendForward, s, k});
      }
      if (!training) {
        continue;
      }
      if (present.contains({TaskKind::Backward, s, k})) {
        expected.push_back({TaskKind::Backward, s, k});
      } else {
        expected.insert(expected.end(), {{TaskKind::BackwardInput, s, k}, {TaskKind::BackwardWeight, s, k}});
      }
      if (elsewhere(s + 1)) {
        expected.push_back({TaskKind::ReceiveBackward, s, k});
      }
      if (elsewhere(s - 1)) {
        expected.push_back({TaskKind::SendBackward, s, k});
      }
    }
  }
  return expected;
}

inline bool complete(const Schedule &schedule, bool training) {
  if (schedule.ranks.empty() || schedule.stages < 1 || schedule.microBatches < 1 ||
      schedule.rankOfStage.size() != static_cast<std::size_t>(schedule.stages)) {
    return false;
  }
  for (int rank : schedule.rankOfStage) {
    if (rank < 0 || rank >= schedule.rankCount()) {
      return false;
    }
  }
  for (auto [owner, holder] : exchanges(schedule)) {
    if (!training || owner < 0 || owner >= holder || holder >= schedule.stages ||
        schedule.rankOfStage[owner] == schedule.rankOfStage[holder]) {
      return false;
    }
  }
  for (int rank = 0; rank < schedule.rankCount(); ++rank) {
    std::vector<Task> expected = expectedTasks(schedule, rank, training), present = schedule.ranks[rank];
    std::sort(expected.begin(), expected.end());
    std::sort(present.begin(), present.end());
    if (expected != present) {
      return false;
    }
  }
  return true;
}

class Machine {
public:
  Machine(const Schedule &schedule, bool training)
      : schedule(schedule), training(training), counter(schedule.ranks.size(), 0),
        done(kTaskKinds * schedule.stages * (schedule.microBatches + 1), false),
        arrived(kTaskKinds * schedule.stages * (schedule.microBatches + 1), false),
        tasksLeft(schedule.stages, 0) {
    for (const std::vector<Task> &tasks : schedule.ranks) {
      for (const Task &task : tasks) {
        if (beforeNorm(task.kind)) {
          ++tasksLeft[task.stage];
        }
      }
    }
  }

  /// Only for complete schedules.
  Verdict run() {
    for (bool progress = true; progress;) {
      progress = gather();
      for (int rank = 0; rank < schedule.rankCount(); ++rank) {
        while (!atEnd(rank) && step(rank)) {
          progress = true;
        }
        if (wrongMessage) {
          return WrongMessage;
        }
      }
    }
    bool finished = true, ownFault = false;
    for (int rank = 0; rank < schedule.rankCount(); ++rank) {
      finished &= atEnd(rank);
      ownFault |= !atEnd(rank) && !ownListAllows(rank, current(rank));
    }
    return finished ? Accepted : ownFault ? OutOfOrder : Deadlock;
  }

private:
  struct Message {
    int tag;        ///< of the channel
    int boundary;   ///< between stages `boundary` and `boundary + 1`; the owner of a tied parameter
    int microBatch; ///< or the holder
    bool operator==(const Message &) const = default;
  };
  /// One way between two ranks. Receives match sends in the order in which both are posted.
  struct Channel {
    std::vector<Message> posted;
    std::size_t sent = 0;
  };

  enum Tag { Activations, Gradients, Sums, Weights };

  static bool beforeNorm(TaskKind kind) {
    return hasMicroBatch(kind) || kind == TaskKind::SendSum || kind == TaskKind::ReceiveSum ||
           kind == TaskKind::Reduce;
  }
  bool weightGradientsDone(int stage) const {
    for (int k = 0; k < schedule.microBatches; ++k) {
      if (!isDone(TaskKind::BackwardWeight, stage, k) && !isDone(TaskKind::Backward, stage, k)) {
        return false;
      }
    }
    return true;
  }

  bool atEnd(int rank) const { return counter[rank] == schedule.ranks[rank].size(); }
  const Task &current(int rank) const { return schedule.ranks[rank][counter[rank]]; }
  std::size_t index(TaskKind kind, int stage, int k) const {
    return (static_cast<std::size_t>(kind) * schedule.stages + stage) * (schedule.microBatches + 1) + k + 1;
  }
  bool isDone(TaskKind kind, int stage, int k = -1) const { return done[index(kind, stage, k)]; }
  bool gradientDone(int stage, int k) const {
    return isDone(TaskKind::BackwardInput, stage, k) || isDone(TaskKind::Backward, stage, k);
  }
  bool shareRank(int a, int b) const { return schedule.rankOfStage[a] == schedule.rankOfStage[b]; }

  /// Whether what the task needs from its own rank has happened.
  bool ownListAllows(int rank, const Task &task) const {
    const int s = task.stage, k = task.microBatch, last = schedule.stages - 1;
    if (hasMicroBatch(task.kind) && training && !isDone(TaskKind::Prepare, s)) {
      return false;
    }
    switch (task.kind) {
    case TaskKind::Prepare:
      return nothingRan(s);
    case TaskKind::Forward:
      return s == 0 || (shareRank(s - 1, s) ? isDone(TaskKind::Forward, s - 1, k)
                                            : isDone(TaskKind::ReceiveForward, s, k));
    case TaskKind::BackwardInput:
    case TaskKind::Backward:
      return isDone(TaskKind::Forward, s, k) &&
             (s == last ||
              (shareRank(s, s + 1) ? gradientDone(s + 1, k) : isDone(TaskKind::ReceiveBackward, s, k)));
    case TaskKind::BackwardWeight:
      return isDone(TaskKind::BackwardInput, s, k);
    case TaskKind::SendForward:
      return isDone(TaskKind::Forward, s, k);
    case TaskKind::SendBackward:
      return gradientDone(s, k);
    case TaskKind::ReceiveForward:
    case TaskKind::ReceiveBackward:
      return true;
    case TaskKind::Norm:
      return tasksLeft[s] == 0;
    case TaskKind::AllGather:
      for (int stage = 0; stage <= last; ++stage) {
        if (schedule.rankOfStage[stage] == rank &&
            (tasksLeft[stage] > 0 || (training && !isDone(TaskKind::Norm, stage)))) {
          return false;
        }
      }
      return true;
    case TaskKind::Update:
    case TaskKind::ReceiveWeight:
      return gathered;
    case TaskKind::ReceiveSum:
      return true;
    case TaskKind::Reduce:
      return weightGradientsDone(s);
    case TaskKind::SendSum:
      return weightGradientsDone(s) && (!hasAny(schedule, TaskKind::Reduce) || isDone(TaskKind::Reduce, s));
    case TaskKind::Gather:
      return isDone(TaskKind::Update, s);
    case TaskKind::SendWeight:
      return isDone(TaskKind::Update, s) &&
             (!hasAny(schedule, TaskKind::Gather) || isDone(TaskKind::Gather, s));
    }
    return false;
  }
  bool nothingRan(int stage) const {
    for (TaskKind kind : {TaskKind::Forward, TaskKind::ReceiveForward, TaskKind::ReceiveBackward}) {
      for (int k = 0; k < schedule.microBatches; ++k) {
        if (isDone(kind, stage, k)) {
          return false;
        }
      }
    }
    return true;
  }

  bool gather() {
    for (int rank = 0; rank < schedule.rankCount(); ++rank) {
      if (atEnd(rank) || current(rank).kind != TaskKind::AllGather || !ownListAllows(rank, current(rank))) {
        return false;
      }
    }
    for (std::size_t &position : counter) {
      ++position;
    }
    gathered = true;
    return true;
  }

  /// Runs the rank's current task if nothing blocks it.
  bool step(int rank) {
    const Task task = current(rank);
    const int s = task.stage, k = task.microBatch;
    if (task.kind == TaskKind::AllGather || !ownListAllows(rank, task)) {
      return false;
    }
    switch (task.kind) {
    case TaskKind::ReceiveForward:
      channels[{schedule.rankOfStage[s - 1], rank, Activations}].posted.push_back({Activations, s - 1, k});
      break;
    case TaskKind::ReceiveBackward:
      channels[{schedule.rankOfStage[s + 1], rank, Gradients}].posted.push_back({Gradients, s, k});
      break;
    case TaskKind::SendForward:
      if (!transfer(channels[{rank, schedule.rankOfStage[s + 1], Activations}], {Activations, s, k},
                    TaskKind::ReceiveForward, s + 1)) {
        return false;
      }
      break;
    case TaskKind::SendBackward:
      if (!transfer(channels[{rank, schedule.rankOfStage[s - 1], Gradients}], {Gradients, s - 1, k},
                    TaskKind::ReceiveBackward, s - 1)) {
        return false;
      }
      break;
    case TaskKind::ReceiveSum:
      channels[{schedule.rankOfStage[k], rank, Sums}].posted.push_back({Sums, s, k});
      break;
    case TaskKind::ReceiveWeight:
      channels[{schedule.rankOfStage[k], rank, Weights}].posted.push_back({Weights, k, s});
      break;
    case TaskKind::SendSum:
    case TaskKind::SendWeight: {
      const bool sum = task.kind == TaskKind::SendSum;
      const Message message = sum ? Message{Sums, k, s} : Message{Weights, s, k};
      if (!match(channels[{rank, schedule.rankOfStage[k], message.tag}], message)) {
        return false;
      }
      if (sum) {
        sumsArrived.insert({k, s});
      }
      break;
    }
    case TaskKind::Norm:
      for (auto [owner, holder] : exchanges(schedule)) {
        if (owner == s && !sumsArrived.contains({owner, holder})) {
          return false;
        }
      }
      break;
    case TaskKind::Forward:
      if (s > 0 && !shareRank(s - 1, s) && !arrived[index(TaskKind::ReceiveForward, s, k)]) {
        return false;
      }
      break;
    case TaskKind::BackwardInput:
    case TaskKind::Backward:
      if (s + 1 < schedule.stages && !shareRank(s, s + 1) &&
          !arrived[index(TaskKind::ReceiveBackward, s, k)]) {
        return false;
      }
      break;
    default:
      break;
    }
    if (!isTied(task.kind)) {
      done[index(task.kind, s, k)] = true;
    }
    tasksLeft[s] -= beforeNorm(task.kind);
    ++counter[rank];
    return true;
  }

  bool match(Channel &channel, const Message &message) {
    if (channel.sent == channel.posted.size()) {
      return false; // the send blocks until a receive is posted
    }
    wrongMessage |= channel.posted[channel.sent++] != message;
    return true;
  }

  bool transfer(Channel &channel, const Message &message, TaskKind receive, int receiver) {
    if (!match(channel, message)) {
      return false;
    }
    arrived[index(receive, receiver, message.microBatch)] = true;
    return true;
  }

  const Schedule &schedule;
  const bool training;
  std::vector<std::size_t> counter;
  std::vector<bool> done, arrived;
  std::vector<int> tasksLeft;                            ///< with a micro-batch, per stage
  std::map<std::tuple<int, int, int>, Channel> channels; ///< by sender, receiver, tag
  std::set<std::pair<int, int>> sumsArrived;             ///< owner, holder
  bool gathered = false, wrongMessage = false;
};

inline Verdict judge(const Schedule &schedule, Purpose purpose) {
  const bool training = purpose == Purpose::Training;
  return complete(schedule, training) ? Machine(schedule, training).run() : Incomplete;
}

} // namespace stagewright::schedule

#endif
