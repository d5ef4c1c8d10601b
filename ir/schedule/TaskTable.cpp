#include "schedule/TaskTable.h"

#include <limits>

namespace stagewright::schedule {

Error errorAt(const Schedule &schedule, Place place, std::string what, std::string advice) {
  return userError("rank " + std::to_string(place.rank) + ", position " + std::to_string(place.position) +
                       " (" + text(schedule.ranks[place.rank][place.position]) + ")",
                   std::move(what), std::move(advice));
}

// positions: [8 kinds with a micro-batch][stages][micro-batches] | PREPARE [stages] | NORM | UPDATE |
// REDUCE | GATHER | ALL_GATHER [ranks]
std::size_t TaskTable::index(TaskKind kind, int stageOrRank, int microBatch) const {
  const std::size_t s = stages, m = microBatches, i = stageOrRank;
  if (hasMicroBatch(kind)) {
    return (static_cast<std::size_t>(kind) * s + i) * m + microBatch;
  }
  const std::size_t row = kind == TaskKind::Prepare  ? 0
                          : kind == TaskKind::Norm   ? 1
                          : kind == TaskKind::Update ? 2
                          : kind == TaskKind::Reduce ? 3
                          : kind == TaskKind::Gather ? 4
                                                     : 5;
  return 8 * s * m + row * s + i;
}

std::optional<Place> TaskTable::ownInput(const Task &task) const {
  switch (task.kind) {
  case TaskKind::BackwardInput:
  case TaskKind::Backward:
  case TaskKind::SendForward:
    return find(TaskKind::Forward, task.stage, task.microBatch);
  case TaskKind::BackwardWeight:
    return find(TaskKind::BackwardInput, task.stage, task.microBatch);
  case TaskKind::SendBackward:
    return findInputGradient(task.stage, task.microBatch);
  default:
    return std::nullopt;
  }
}

std::optional<Place> TaskTable::neighbourInput(const Task &task) const {
  if (task.kind == TaskKind::Forward && task.stage > 0) {
    return find(TaskKind::Forward, task.stage - 1, task.microBatch);
  }
  if (makesInputGradient(task.kind) && task.stage + 1 < stages) {
    return findInputGradient(task.stage + 1, task.microBatch);
  }
  return std::nullopt;
}

std::optional<Task> TaskTable::receiveFor(const Task &task) const {
  if (task.kind == TaskKind::Forward && crossesRanks(task.stage - 1)) {
    return Task{TaskKind::ReceiveForward, task.stage, task.microBatch};
  }
  if (makesInputGradient(task.kind) && crossesRanks(task.stage)) {
    return Task{TaskKind::ReceiveBackward, task.stage, task.microBatch};
  }
  return std::nullopt;
}

Place TaskTable::otherEnd(const Task &transfer) const {
  switch (transfer.kind) {
  case TaskKind::SendForward:
    return find(TaskKind::ReceiveForward, transfer.stage + 1, transfer.microBatch);
  case TaskKind::ReceiveForward:
    return find(TaskKind::SendForward, transfer.stage - 1, transfer.microBatch);
  case TaskKind::SendBackward:
    return find(TaskKind::ReceiveBackward, transfer.stage - 1, transfer.microBatch);
  case TaskKind::SendSum:
    return find(TaskKind::ReceiveSum, transfer.microBatch, transfer.stage);
  case TaskKind::ReceiveSum:
    return find(TaskKind::SendSum, transfer.microBatch, transfer.stage);
  case TaskKind::SendWeight:
    return find(TaskKind::ReceiveWeight, transfer.microBatch, transfer.stage);
  case TaskKind::ReceiveWeight:
    return find(TaskKind::SendWeight, transfer.microBatch, transfer.stage);
  default:
    return find(TaskKind::SendBackward, transfer.stage + 1, transfer.microBatch);
  }
}

static Result<void> checkShape(const Schedule &schedule) {
  auto refuse = [](std::string what) { return userError("schedule", std::move(what)); };
  if (schedule.ranks.empty() || schedule.stages < 1 || schedule.microBatches < 1) {
    return refuse("a schedule needs at least one rank, one stage and one micro-batch, and has " +
                  std::to_string(schedule.ranks.size()) + ", " + std::to_string(schedule.stages) + " and " +
                  std::to_string(schedule.microBatches));
  }
  if (schedule.rankOfStage.size() != static_cast<std::size_t>(schedule.stages)) {
    return refuse("there are " + std::to_string(schedule.stages) + " stages, but ranks are given for " +
                  std::to_string(schedule.rankOfStage.size()));
  }
  for (int rank : schedule.rankOfStage) {
    if (rank < 0 || static_cast<std::size_t>(rank) >= schedule.ranks.size()) {
      return refuse("a stage lies on rank " + std::to_string(rank) + ", but there are " +
                    std::to_string(schedule.ranks.size()) + " ranks");
    }
  }
  if (schedule.microBatches > kMaxMicroBatches) {
    return refuse("there are " + std::to_string(schedule.microBatches) + " micro-batches, more than " +
                  std::to_string(kMaxMicroBatches));
  }
  std::size_t tasks = 0;
  for (const std::vector<Task> &list : schedule.ranks) {
    tasks += list.size();
  }
  const std::int64_t forwards = std::int64_t{schedule.stages} * schedule.microBatches;
  if (tasks < static_cast<std::size_t>(forwards) || tasks > std::numeric_limits<std::int32_t>::max()) {
    return refuse(std::to_string(schedule.stages) + " stages and " + std::to_string(schedule.microBatches) +
                  " micro-batches need " + std::to_string(forwards) + " forward tasks, but the lists hold " +
                  std::to_string(tasks) + " tasks in all");
  }
  return {};
}

/// Numbers in range, on the rank of the stage.
static Result<void> checkTask(const Schedule &schedule, Place place) {
  const Task &task = schedule.ranks[place.rank][place.position];
  if (static_cast<int>(task.kind) >= kTaskKinds) {
    return errorAt(schedule, place, "unknown kind of task");
  }
  const auto stageError = [&] {
    return errorAt(schedule, place, "stage out of range",
                   "there are " + std::to_string(schedule.stages) + " stages, counted from 0");
  };
  if (isTied(task.kind)) {
    if (task.microBatch < 0 || task.microBatch >= schedule.stages) {
      return stageError();
    }
  } else if (hasMicroBatch(task.kind) ? task.microBatch < 0 || task.microBatch >= schedule.microBatches
                                      : task.microBatch != -1) {
    return errorAt(schedule, place, "micro-batch out of range",
                   "there are " + std::to_string(schedule.microBatches) + " micro-batches, counted from 0");
  }
  const bool gather = task.kind == TaskKind::AllGather;
  if (gather ? task.stage != -1 : task.stage < 0 || task.stage >= schedule.stages) {
    return stageError();
  }
  if (!gather && schedule.rankOfStage[task.stage] != place.rank) {
    return errorAt(schedule, place,
                   "stage " + std::to_string(task.stage) + " lies on rank " +
                       std::to_string(schedule.rankOfStage[task.stage]));
  }
  return {};
}

Result<TaskTable> TaskTable::build(const Schedule &schedule) {
  if (Result<void> shape = checkShape(schedule); !shape) {
    return shape.takeError();
  }
  TaskTable table;
  table.rankOfStage = &schedule.rankOfStage;
  table.stages = schedule.stages;
  table.microBatches = schedule.microBatches;
  table.positions.assign(table.index(TaskKind::AllGather, schedule.rankCount(), -1), -1);
  for (int rank = 0; rank < schedule.rankCount(); ++rank) {
    const std::vector<Task> &list = schedule.ranks[rank];
    for (int position = 0; position < static_cast<int>(list.size()); ++position) {
      const Task &task = list[position];
      const Place place{rank, position};
      if (Result<void> checked = checkTask(schedule, place); !checked) {
        return checked.takeError();
      }
      std::int32_t &entry =
          isTied(task.kind)
              ? table.tiedPositions.try_emplace(task, -1).first->second
              : table.positions[table.index(task.kind, task.stage < 0 ? rank : task.stage, task.microBatch)];
      if (entry >= 0) {
        return errorAt(schedule, place, "the task stands twice, first at position " + std::to_string(entry));
      }
      entry = position;
    }
  }
  return table;
}

} // namespace stagewright::schedule
