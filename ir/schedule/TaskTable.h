// Where each task of a schedule stands. Building the table is the one place that meets unchecked schedules:
// behind it every stage, micro-batch and rank is in range and no task stands twice.
#ifndef STAGEWRIGHT_SCHEDULE_TASKTABLE_H
#define STAGEWRIGHT_SCHEDULE_TASKTABLE_H

#include "schedule/Schedule.h"

#include <map>
#include <optional>

namespace stagewright::schedule {

/// A slot number has 16 bits.
inline constexpr int kMaxMicroBatches = 65535;

/// One entry of one rank's list. Position -1: there is none.
struct Place {
  int rank = 0;
  int position = -1;
};

inline bool makesInputGradient(TaskKind kind) {
  return kind == TaskKind::BackwardInput || kind == TaskKind::Backward;
}

/// Error at a task, with the place "rank 1, position 7 (1B0)".
Error errorAt(const Schedule &schedule, Place place, std::string what, std::string advice = {});

class TaskTable {
public:
  /// Errors: no ranks, wrong rankOfStage, fewer tasks than forwards are needed (so the table is never larger
  /// than a few times the lists), a task with an index out of range, on another stage's rank, or twice.
  static Result<TaskTable> build(const Schedule &schedule);

  /// The task of a kind for a stage and (if the kind has one) micro-batch. Arguments must be in range.
  Place find(TaskKind kind, int stage, int microBatch = -1) const {
    return {(*rankOfStage)[stage],
            isTied(kind) ? findTied({kind, stage, microBatch}) : positions[index(kind, stage, microBatch)]};
  }
  Place find(const Task &task) const { return find(task.kind, task.stage, task.microBatch); }
  bool has(TaskKind kind, int stage, int microBatch = -1) const {
    return find(kind, stage, microBatch).position >= 0;
  }
  /// All tasks that exchange tied parameters.
  const std::map<Task, std::int32_t> &tied() const { return tiedPositions; }
  /// The rank's ALL_GATHER.
  Place allGather(int rank) const { return {rank, positions[index(TaskKind::AllGather, rank, -1)]}; }
  /// The task that makes the gradient of the stage's inputs: I, or else B.
  Place findInputGradient(int stage, int microBatch) const {
    return find(has(TaskKind::BackwardInput, stage, microBatch) ? TaskKind::BackwardInput
                                                                : TaskKind::Backward,
                stage, microBatch);
  }
  /// Whether values go over a channel between `stage` and `stage + 1`; false behind the last stage and before
  /// stage 0.
  bool crossesRanks(int stage) const {
    return stage >= 0 && stage + 1 < stages && (*rankOfStage)[stage] != (*rankOfStage)[stage + 1];
  }

  /// The task of the same stage and micro-batch whose result `task` reads: F for I, B and SEND_F, I for W, I
  /// or B for SEND_B.
  std::optional<Place> ownInput(const Task &task) const;
  /// The compute task whose result `task` (F, I or B) reads from a neighbour stage.
  std::optional<Place> neighbourInput(const Task &task) const;
  /// The RECV through which that result comes, if the neighbour stage is on another rank.
  std::optional<Task> receiveFor(const Task &task) const;
  /// The other end of a SEND or RECV that crosses ranks.
  Place otherEnd(const Task &transfer) const;

private:
  std::size_t index(TaskKind kind, int stageOrRank, int microBatch) const;
  std::int32_t findTied(const Task &task) const {
    const auto found = tiedPositions.find(task);
    return found == tiedPositions.end() ? -1 : found->second;
  }

  const std::vector<int> *rankOfStage = nullptr; // the schedule's, which outlives the table
  int stages = 0;
  int microBatches = 0;
  std::vector<std::int32_t> positions;
  std::map<Task, std::int32_t> tiedPositions;
};

} // namespace stagewright::schedule

#endif
