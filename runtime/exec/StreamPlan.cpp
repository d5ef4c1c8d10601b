#include "runtime/exec/StreamPlan.h"

namespace stagewright::runtime {
namespace {

using schedule::TaskKind;

bool computes(const PlannedTask &task) {
  return task.programs[0] >= 0 || task.programs[1] >= 0;
}

/// F, I, W as 0, 1, 2: where in a micro-batch's life a task stands, from and to (B is I and W).
struct Moments {
  int from = 0, to = 0;
};
Moments momentsOf(TaskKind kind) {
  switch (kind) {
  case TaskKind::BackwardInput:
  case TaskKind::ReceiveBackward:
  case TaskKind::SendBackward:
    return {1, 1};
  case TaskKind::BackwardWeight:
    return {2, 2};
  case TaskKind::Backward:
    return {1, 2};
  default:
    return {0, 0};
  }
}

class Planner {
public:
  Planner(const executable::RankPlan &plan, const TaskPlan &tasks, bool training)
      : plan(plan), tasks(tasks), training(training) {}

  StreamPlan run() {
    result.records.resize(tasks.tasks.size());
    result.fillAfter.resize(tasks.fills.size(), -1);
    result.postAfter.resize(tasks.posts.size(), -1);
    for (int position = 0; position < static_cast<int>(tasks.tasks.size()); ++position) {
      const PlannedTask &task = tasks.tasks[static_cast<std::size_t>(position)];
      for (std::uint32_t i = task.fills.begin; i < task.fills.end; ++i) {
        result.fillAfter[i] = waitFor(lastUser(tasks.fills[i].pool, position));
      }
      for (std::uint32_t i = task.posts.begin; i < task.posts.end; ++i) {
        const Post &post = tasks.posts[i];
        const int after = post.pool < 0 ? lastCompute(position)
                          : post.send   ? producer(position)
                                        : lastUser(post.pool, position);
        result.postAfter[i] = waitFor(after);
      }
      if (task.gathers) {
        result.gatherAfter = waitFor(lastCompute(position));
      }
    }
    return std::move(result);
  }

private:
  int waitFor(int position) {
    if (position >= 0) {
      result.records[static_cast<std::size_t>(position)] = true;
    }
    return position;
  }
  std::uint64_t slotOf(int pool, int microBatch) const {
    const executable::SlotPool &entry = *plan.pools()->Get(static_cast<unsigned>(pool));
    return (training ? entry.train_slots() : entry.evaluate_slots())->Get(static_cast<unsigned>(microBatch));
  }
  int lastCompute(int before) const {
    while (--before >= 0 && !computes(tasks.tasks[static_cast<std::size_t>(before)])) {
    }
    return before;
  }

  /// Of the slot that the task at `before` writes.
  int lastUser(int pool, int before) const {
    const executable::SlotPool &entry = *plan.pools()->Get(static_cast<unsigned>(pool));
    const std::uint64_t slot = slotOf(pool, tasks.tasks[static_cast<std::size_t>(before)].task.microBatch);
    const int first = momentsOf(static_cast<TaskKind>(entry.first())).from,
              last = momentsOf(static_cast<TaskKind>(entry.last())).to;
    for (int position = lastCompute(before); position >= 0; position = lastCompute(position)) {
      const schedule::Task &task = tasks.tasks[static_cast<std::size_t>(position)].task;
      if (!schedule::isCompute(task.kind) || task.stage != entry.stage()) {
        continue;
      }
      const Moments moments = momentsOf(task.kind);
      if (moments.from <= last && moments.to >= first && slotOf(pool, task.microBatch) == slot) {
        return position;
      }
    }
    return -1;
  }

  /// F of what SEND_F sends, I or B of what SEND_B sends.
  int producer(int send) const {
    const schedule::Task &sent = tasks.tasks[static_cast<std::size_t>(send)].task;
    const TaskKind made = sent.kind == TaskKind::SendForward ? TaskKind::Forward : TaskKind::BackwardInput;
    for (int position = lastCompute(send); position >= 0; position = lastCompute(position)) {
      const schedule::Task &task = tasks.tasks[static_cast<std::size_t>(position)].task;
      if (schedule::includes(task.kind, made) && task.stage == sent.stage &&
          task.microBatch == sent.microBatch) {
        return position;
      }
    }
    return lastCompute(send);
  }

  const executable::RankPlan &plan;
  const TaskPlan &tasks;
  const bool training;
  StreamPlan result;
};

} // namespace

StreamPlan planStreams(const executable::RankPlan &plan, const TaskPlan &tasks, bool training) {
  return Planner(plan, tasks, training).run();
}

} // namespace stagewright::runtime
