#include "schedule/TaskTable.h"

#include <algorithm>
#include <set>

namespace stagewright::schedule {

namespace {

Error waitingInACircle(const Schedule &compute, const TaskTable &table, const std::vector<int> &next) {
  int rank = 0;
  while (next[rank] == static_cast<int>(compute.ranks[rank].size())) {
    ++rank;
  }
  const Place place{rank, next[rank]};
  const Place producer = *table.neighbourInput(compute.ranks[rank][place.position]);
  if (producer.position < 0) {
    return errorAt(compute, place, "the task reads a result that no task makes");
  }
  return errorAt(compute, place,
                 "the compute tasks wait for each other in a circle: this one waits for " +
                     text(compute.ranks[producer.rank][producer.position]) + " of rank " +
                     std::to_string(producer.rank),
                 "change the order of the tasks");
}

} // namespace

/// From a holder to the owners of what it uses.
static void sendSums(Schedule &schedule, const std::vector<Tie> &ties, int holder) {
  for (const Tie &tie : ties) {
    if (tie.holder == holder) {
      schedule.ranks[schedule.rankOfStage[holder]].push_back({TaskKind::SendSum, holder, tie.owner});
      schedule.ranks[schedule.rankOfStage[tie.owner]].push_back({TaskKind::ReceiveSum, tie.owner, holder});
    }
  }
}

// One turn of the walk lets every rank run its next task if its input is there. The receive goes to the
// peer's list in the moment in which the send goes to the own one:
//
//   turn 1  rank 0: F0 SEND_F0             rank 1: RECV_F0 | F0
//   turn 2  rank 0: F1 SEND_F1             rank 1: RECV_F1 | B0 SEND_B0      (and RECV_B0 on rank 0)
Result<Schedule> addTransfers(const Schedule &compute, const StepExchanges &exchanges) {
  Result<TaskTable> table = TaskTable::build(compute);
  if (!table) {
    return table.takeError();
  }
  const int ranks = compute.rankCount();
  std::size_t left = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<Task> &tasks = compute.ranks[rank];
    left += tasks.size();
    auto other =
        std::find_if(tasks.begin(), tasks.end(), [](const Task &task) { return !isCompute(task.kind); });
    if (other != tasks.end()) {
      return errorAt(compute, {rank, static_cast<int>(other - tasks.begin())},
                     "transfers can only be added to a schedule of F, I, W and B tasks");
    }
  }

  Schedule schedule = compute;
  for (std::vector<Task> &tasks : schedule.ranks) {
    tasks.clear();
  }
  std::vector<int> next(ranks, 0);
  std::vector<int> weightGradients(compute.stages, 0); // made so far
  auto connect = [&](const Task &task, TaskKind send, TaskKind receive, int peerStage) {
    schedule.ranks[compute.rankOfStage[task.stage]].push_back({send, task.stage, task.microBatch});
    schedule.ranks[compute.rankOfStage[peerStage]].push_back({receive, peerStage, task.microBatch});
  };
  while (left > 0) {
    const std::size_t before = left;
    for (int rank = 0; rank < ranks; ++rank) {
      if (next[rank] == static_cast<int>(compute.ranks[rank].size())) {
        continue;
      }
      const Task &task = compute.ranks[rank][next[rank]];
      const std::optional<Place> producer = table->neighbourInput(task);
      if (producer && (producer->position < 0 || producer->position >= next[producer->rank])) {
        continue;
      }
      schedule.ranks[rank].push_back(task);
      ++next[rank];
      --left;
      if (task.kind == TaskKind::Forward && table->crossesRanks(task.stage)) {
        connect(task, TaskKind::SendForward, TaskKind::ReceiveForward, task.stage + 1);
      } else if (makesInputGradient(task.kind) && table->crossesRanks(task.stage - 1)) {
        connect(task, TaskKind::SendBackward, TaskKind::ReceiveBackward, task.stage - 1);
      }
      if (includes(task.kind, TaskKind::BackwardWeight) &&
          ++weightGradients[task.stage] == compute.microBatches) {
        if (exchanges.reduces) {
          schedule.ranks[rank].push_back({TaskKind::Reduce, task.stage, -1});
        }
        sendSums(schedule, exchanges.ties, task.stage);
      }
    }
    if (left == before) {
      return waitingInACircle(compute, *table, next);
    }
  }
  return schedule;
}

Schedule addStepTasks(Schedule schedule, const StepExchanges &exchanges) {
  for (int rank = 0; rank < schedule.rankCount(); ++rank) {
    std::vector<Task> &tasks = schedule.ranks[rank];
    std::vector<Task> prepare, norm, update, gather;
    for (int stage = 0; stage < static_cast<int>(schedule.rankOfStage.size()); ++stage) {
      if (schedule.rankOfStage[stage] == rank) {
        prepare.push_back({TaskKind::Prepare, stage, -1});
        norm.push_back({TaskKind::Norm, stage, -1});
        update.push_back({TaskKind::Update, stage, -1});
        if (exchanges.gathers) {
          gather.push_back({TaskKind::Gather, stage, -1});
        }
      }
    }
    tasks.insert(tasks.begin(), prepare.begin(), prepare.end());
    tasks.insert(tasks.end(), norm.begin(), norm.end());
    tasks.push_back({TaskKind::AllGather, -1, -1});
    for (const Tie &tie : exchanges.ties) {
      if (schedule.rankOfStage[tie.holder] == rank) {
        tasks.push_back({TaskKind::ReceiveWeight, tie.holder, tie.owner});
      }
    }
    tasks.insert(tasks.end(), update.begin(), update.end());
    tasks.insert(tasks.end(), gather.begin(), gather.end());
    for (const Tie &tie : exchanges.ties) {
      if (schedule.rankOfStage[tie.owner] == rank) {
        tasks.push_back({TaskKind::SendWeight, tie.owner, tie.holder});
      }
    }
  }
  return schedule;
}

StepExchanges exchangesOf(const Schedule &schedule) {
  std::set<Tie> ties;
  StepExchanges exchanges;
  for (const std::vector<Task> &tasks : schedule.ranks) {
    for (const Task &task : tasks) {
      exchanges.reduces |= task.kind == TaskKind::Reduce;
      exchanges.gathers |= task.kind == TaskKind::Gather;
      if (isTied(task.kind)) {
        const bool fromHolder = task.kind == TaskKind::SendSum || task.kind == TaskKind::ReceiveWeight;
        ties.insert(fromHolder ? Tie{task.microBatch, task.stage} : Tie{task.stage, task.microBatch});
      }
    }
  }
  exchanges.ties.assign(ties.begin(), ties.end());
  return exchanges;
}

} // namespace stagewright::schedule
