#include "runtime/exec/TaskPlan.h"

#include "runtime/comm/MessageTags.h"

#include <algorithm>
#include <map>
#include <set>

namespace stagewright::runtime {

namespace {

using schedule::TaskKind;

bool isIn(TaskShare share, TaskKind kind) {
  const bool both = kind == TaskKind::Reduce || kind == TaskKind::Norm || kind == TaskKind::AllGather ||
                    kind == TaskKind::Gather;
  const bool updates = kind == TaskKind::Update || kind == TaskKind::SendSum || kind == TaskKind::ReceiveSum;
  switch (share) {
  case TaskShare::All:
    return true;
  case TaskShare::OfReplica:
    return !updates;
  case TaskShare::OfServer:
    return updates || both;
  case TaskShare::Update:
    return kind == TaskKind::Gather || kind == TaskKind::SendWeight || kind == TaskKind::ReceiveWeight;
  }
  return false;
}

class Planner {
public:
  Planner(const Executable &executable, int rank, int replica, schedule::Purpose purpose,
          const ArenaBases &arenas, bool poison, TaskShare share)
      : plan(executable.rank(rank)), replica(replica), group(executable.shardGroup()), share(share),
        training(purpose == schedule::Purpose::Training),
        list((training ? executable.trainSchedule() : executable.evaluateSchedule()).ranks[rank]),
        arenas(arenas), poison(poison), microBatches(executable.trainSchedule().microBatches) {}

  TaskPlan run() {
    result.slotStride = 1 + plan.pools()->size();
    result.slotOffsets.resize(result.slotStride * static_cast<std::size_t>(microBatches), 0);
    for (unsigned pool = 0; pool < plan.pools()->size(); ++pool) {
      for (int k = 0; k < microBatches; ++k) {
        result.slotOffsets[static_cast<std::size_t>(k) * result.slotStride + 1 + pool] =
            slotOf(pool, k) * plan.pools()->Get(pool)->slot_bytes();
      }
    }
    result.requests = plan.transfers()->size() * static_cast<std::uint32_t>(microBatches);
    for (const schedule::Task &task : list) {
      if (isIn(share, task.kind)) {
        add(task);
      }
      ++position;
    }
    markLastGradients();
    result.endWaits.begin = static_cast<std::uint32_t>(result.waits.size());
    for (const auto &[slot, requests] : inFlight) {
      result.waits.insert(result.waits.end(), requests.begin(), requests.end());
    }
    result.waits.insert(result.waits.end(), weights.begin(), weights.end());
    result.endWaits.end = static_cast<std::uint32_t>(result.waits.size());
    return std::move(result);
  }

private:
  std::uint64_t slotOf(unsigned pool, int microBatch) const {
    const executable::SlotPool &entry = *plan.pools()->Get(pool);
    return (training ? entry.train_slots() : entry.evaluate_slots())->Get(static_cast<unsigned>(microBatch));
  }
  std::byte *slotData(unsigned pool, int microBatch) const {
    const executable::SlotPool &entry = *plan.pools()->Get(pool);
    return arenas[entry.arena()] + entry.offset() + slotOf(pool, microBatch) * entry.slot_bytes();
  }
  std::uint32_t requestOf(unsigned transfer, int microBatch) const {
    return transfer * static_cast<std::uint32_t>(microBatches) + static_cast<std::uint32_t>(microBatch);
  }

  void markLastGradients() {
    std::set<int> seen; // stages, from the end
    for (auto task = result.tasks.rbegin(); task != result.tasks.rend(); ++task) {
      task->lastGradient = schedule::includes(task->task.kind, TaskKind::BackwardWeight) &&
                           seen.insert(task->task.stage).second;
    }
  }

  /// Sums are of a replica alone, weights of all that have the same ones.
  bool isOwn(const executable::Transfer &transfer) const {
    const bool ofShards = transfer.kind() == executable::TaskKind::SendWeight ||
                          transfer.kind() == executable::TaskKind::ReceiveWeight;
    return transfer.replica() == -1 || transfer.replica() == replica ||
           (ofShards && (transfer.replica() - replica) % group == 0);
  }

  void add(const schedule::Task &task) {
    PlannedTask planned;
    planned.task = task;
    planned.text = schedule::text(task);
    planned.gathers = task.kind == TaskKind::AllGather;
    planned.waits.begin = static_cast<std::uint32_t>(result.waits.size());
    if (hasMicroBatch(task.kind)) {
      waitForReceives(task);
      waitForSlots(task);
    }
    waitForSums(task);
    planned.waits.end = static_cast<std::uint32_t>(result.waits.size());
    planned.fills = fills(task);
    choosePrograms(planned);
    planned.posts = posts(task);
    planned.waitsAfter.begin = planned.waits.end;
    planned.dead.begin = static_cast<std::uint32_t>(result.dead.size());
    if (poison) {
      bury(task);
    }
    planned.dead.end = static_cast<std::uint32_t>(result.dead.size());
    planned.waitsAfter.end = static_cast<std::uint32_t>(result.waits.size());
    result.tasks.push_back(std::move(planned));
  }

  /// F waits for what RECV_F posted, I and B for what RECV_B posted.
  void waitForReceives(const schedule::Task &task) {
    const bool forward = task.kind == TaskKind::Forward,
               backward = schedule::includes(task.kind, TaskKind::BackwardInput);
    if (!forward && !backward) {
      return;
    }
    const auto kind = forward ? executable::TaskKind::ReceiveForward : executable::TaskKind::ReceiveBackward;
    for (unsigned i = 0; i < plan.transfers()->size(); ++i) {
      const executable::Transfer &transfer = *plan.transfers()->Get(i);
      if (transfer.kind() == kind && transfer.stage() == task.stage) {
        result.waits.push_back(requestOf(i, task.microBatch));
      }
    }
  }

  /// The first task of a value waits until its slot has been sent.
  void waitForSlots(const schedule::Task &task) {
    for (unsigned pool = 0; pool < plan.pools()->size(); ++pool) {
      const executable::SlotPool &entry = *plan.pools()->Get(pool);
      if (entry.sent() && entry.stage() == task.stage &&
          schedule::includes(task.kind, static_cast<TaskKind>(entry.first()))) {
        waitForSends(pool, slotOf(pool, task.microBatch));
      }
    }
  }

  void waitForSends(unsigned pool, std::uint64_t slot) {
    const auto sends = inFlight.find({pool, slot});
    if (sends != inFlight.end()) {
      result.waits.insert(result.waits.end(), sends->second.begin(), sends->second.end());
      inFlight.erase(sends);
    }
  }

  /// NORM of the owner adds what has been received, UPDATE of a holder clears what has been sent.
  void waitForSums(const schedule::Task &task) {
    const bool norm = task.kind == TaskKind::Norm, update = task.kind == TaskKind::Update;
    const auto kind = norm ? executable::TaskKind::ReceiveSum : executable::TaskKind::SendSum;
    for (unsigned i = 0; (norm || update) && i < plan.transfers()->size(); ++i) {
      const executable::Transfer &transfer = *plan.transfers()->Get(i);
      if (training && transfer.kind() == kind && transfer.stage() == task.stage && isOwn(transfer)) {
        result.waits.push_back(requestOf(i, 0));
      }
    }
  }

  /// Every input is of f32 or i32.
  static std::size_t bytesOf(const executable::InputBinding &binding) {
    std::size_t bytes = 4;
    for (const std::int64_t size : *binding.shape()) {
      bytes *= static_cast<std::size_t>(size);
    }
    return bytes;
  }

  IndexRange fills(const schedule::Task &task) {
    IndexRange range{static_cast<std::uint32_t>(result.fills.size()), 0};
    for (const executable::InputBinding *binding : *plan.inputs()) {
      if (task.kind == TaskKind::Forward && binding->stage() == task.stage) {
        result.fills.push_back({binding->input(),
                                slotData(binding->pool(), task.microBatch) + binding->offset(),
                                bytesOf(*binding), binding->pool()});
      }
    }
    range.end = static_cast<std::uint32_t>(result.fills.size());
    return range;
  }

  IndexRange posts(const schedule::Task &task) {
    IndexRange range{static_cast<std::uint32_t>(result.posts.size()), 0};
    if (isTied(task.kind)) {
      postTied(task);
    }
    for (unsigned i = 0; isTransfer(task.kind) && i < plan.transfers()->size(); ++i) {
      const executable::Transfer &transfer = *plan.transfers()->Get(i);
      if (static_cast<TaskKind>(transfer.kind()) != task.kind || transfer.stage() != task.stage) {
        continue;
      }
      const bool send = task.kind == TaskKind::SendForward || task.kind == TaskKind::SendBackward;
      const bool forward = task.kind == TaskKind::SendForward || task.kind == TaskKind::ReceiveForward;
      const std::uint32_t request = requestOf(i, task.microBatch);
      result.posts.push_back({send, transfer.peer(), forward ? tags::kActivations : tags::kGradients,
                              slotData(transfer.pool(), task.microBatch) + transfer.offset(),
                              transfer.bytes(), request, transfer.pool()});
      if (send) {
        inFlight[{transfer.pool(), slotOf(transfer.pool(), task.microBatch)}].push_back(request);
      }
    }
    range.end = static_cast<std::uint32_t>(result.posts.size());
    return range;
  }

  void postTied(const schedule::Task &task) {
    const bool weight = task.kind == TaskKind::SendWeight || task.kind == TaskKind::ReceiveWeight;
    const bool send = task.kind == TaskKind::SendSum || task.kind == TaskKind::SendWeight;
    for (unsigned i = 0; i < plan.transfers()->size(); ++i) {
      const executable::Transfer &transfer = *plan.transfers()->Get(i);
      if (static_cast<TaskKind>(transfer.kind()) != task.kind || transfer.stage() != task.stage ||
          transfer.partner() != task.microBatch || !isOwn(transfer)) {
        continue;
      }
      const std::uint32_t request = requestOf(i, 0);
      result.posts.push_back({send, transfer.peer(), weight ? tags::kTiedWeights : tags::kTiedSums,
                              arenas[transfer.arena()] + transfer.offset(), transfer.bytes(), request});
      if (weight) {
        weights.push_back(request);
      }
    }
  }

  int programIndex(executable::ProgramKind kind, int stage) const {
    for (unsigned i = 0; i < plan.programs()->size(); ++i) {
      const executable::Program &program = *plan.programs()->Get(i);
      if (program.kind() == kind && program.stage() == stage) {
        const bool isEmpty =
            program.commands()->size() == 0 && (!program.points() || program.points()->size() == 0);
        return isEmpty ? -1 : static_cast<int>(i);
      }
    }
    return -1;
  }

  void choosePrograms(PlannedTask &planned) const {
    using Program = executable::ProgramKind;
    const int stage = planned.task.stage;
    switch (planned.task.kind) {
    case TaskKind::Forward:
      planned.programs[0] = programIndex(training ? Program::Forward : Program::Evaluate, stage);
      break;
    case TaskKind::BackwardInput:
      planned.programs[0] = programIndex(Program::BackwardInput, stage);
      break;
    case TaskKind::BackwardWeight:
      planned.programs[0] = programIndex(Program::BackwardWeight, stage);
      break;
    case TaskKind::Backward:
      planned.programs[0] = programIndex(Program::BackwardInput, stage);
      planned.programs[1] = programIndex(Program::BackwardWeight, stage);
      break;
    case TaskKind::Prepare:
      planned.programs[0] = programIndex(Program::Prepare, stage);
      break;
    case TaskKind::Norm:
      planned.programs[0] = programIndex(Program::Norm, stage);
      break;
    case TaskKind::Update:
      planned.programs[0] = programIndex(Program::Update, stage);
      break;
    default:
      break;
    }
  }

  /// Poison mode: values whose life ends with this task.
  void bury(const schedule::Task &task) {
    if (position == 0) {
      for (unsigned pool = 0; pool < plan.pools()->size(); ++pool) {
        const executable::SlotPool &entry = *plan.pools()->Get(pool);
        if (!hasMicroBatch(static_cast<TaskKind>(entry.last()))) {
          result.deadAtEnd.push_back({entry.arena(), entry.offset(), entry.slots() * entry.slot_bytes()});
        }
        const auto ranges = schedule::liveRanges(list, microBatches, lifetimeOf(entry));
        for (int k = 0; k < microBatches; ++k) {
          if (ranges[k].begin >= 0 && ranges[k].end < static_cast<int>(list.size())) {
            endings[ranges[k].end].push_back({pool, k});
          }
        }
      }
    }
    for (const auto &[pool, microBatch] : endings[position]) {
      const executable::SlotPool &entry = *plan.pools()->Get(pool);
      waitForSends(pool, slotOf(pool, microBatch));
      result.dead.push_back({entry.arena(), entry.offset() + slotOf(pool, microBatch) * entry.slot_bytes(),
                             entry.slot_bytes()});
    }
  }

  const executable::RankPlan &plan;
  const int replica;
  const int group; ///< of replicas that divide weights
  const TaskShare share;
  const bool training;
  const std::vector<schedule::Task> &list;
  const ArenaBases &arenas;
  const bool poison;
  const int microBatches;
  TaskPlan result;
  int position = 0;
  std::vector<std::uint32_t> weights; ///< requests of tied parameters' weights
  std::map<std::pair<unsigned, std::uint64_t>, std::vector<std::uint32_t>>
      inFlight;                                                 ///< (pool, slot) -> sends
  std::map<int, std::vector<std::pair<unsigned, int>>> endings; ///< position -> (pool, micro-batch)
};

} // namespace

TaskPlan planTasks(const Executable &executable, int rank, int updater, schedule::Purpose purpose,
                   const ArenaBases &arenas, bool poison, TaskShare share) {
  return Planner(executable, rank, updater, purpose, arenas, poison, share).run();
}

} // namespace stagewright::runtime
