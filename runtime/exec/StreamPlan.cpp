#include "runtime/exec/StreamPlan.h"

namespace stagewright::runtime {
namespace {

using schedule::TaskKind;

bool computes(const PlannedTask &task) {
  return task.programs[0] >= 0 || task.programs[1] >= 0;
}

/// What replicas give each other in a task has arrived for the compute stream behind it.
bool changes(const PlannedTask &task) {
  return computes(task) || task.task.kind == TaskKind::Reduce || task.task.kind == TaskKind::Gather;
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
  Planner(const Executable &executable, int pipelineRank, const TaskPlan &tasks, bool training)
      : executable(executable), plan(executable.rank(pipelineRank)), pipelineRank(pipelineRank), tasks(tasks),
        training(training) {}

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
      if (result.gatherBefore < 0 && computes(task) && writesShared(task)) {
        result.gatherBefore = position;
      }
      if (task.gathers) {
        result.gatherAfter = waitFor(lastCompute(position));
      }
    }
    return std::move(result);
  }

private:
  /// Whether a command of the task writes what the rank gives to others in the collective.
  bool writesShared(const PlannedTask &task) const {
    const executable::Collective &collective =
        *(training ? plan.train_collective() : plan.evaluate_collective());
    for (const int program : task.programs) {
      for (unsigned i = 0; program >= 0 && i < collective.segments()->size(); ++i) {
        const executable::Segment &segment = *collective.segments()->Get(i);
        if (segment.rank() == pipelineRank &&
            writes(*plan.programs()->Get(static_cast<unsigned>(program)), collective.arena(), segment)) {
          return true;
        }
      }
    }
    return false;
  }
  bool writes(const executable::Program &program, unsigned arena, const executable::Segment &segment) const {
    for (const executable::Command *command : *program.commands()) {
      const executable::KernelRef &reference = *executable.file().kernels()->Get(command->kernel());
      const catalogue::Kernel &kernel = *catalogue::find(reference.name()->str(), reference.version());
      for (unsigned i = 0; i < command->operands()->size(); ++i) {
        const executable::Operand &operand = *command->operands()->Get(i);
        if (kernel.operands[i].access != catalogue::Access::Read && operand.arena() == arena &&
            operand.pool() < 0 && operand.offset() < segment.offset() + segment.bytes() &&
            segment.offset() < operand.offset() + bytesOf(operand)) {
          return true;
        }
      }
    }
    return false;
  }

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
    while (--before >= 0 && !changes(tasks.tasks[static_cast<std::size_t>(before)])) {
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

  const Executable &executable;
  const executable::RankPlan &plan;
  const int pipelineRank;
  const TaskPlan &tasks;
  const bool training;
  StreamPlan result;
};

} // namespace

StreamPlan planStreams(const Executable &executable, int pipelineRank, const TaskPlan &tasks, bool training) {
  return Planner(executable, pipelineRank, tasks, training).run();
}

} // namespace stagewright::runtime
