#include "schedule/Execution.h"

#include <array>
#include <map>

namespace stagewright::schedule {

namespace {

/// The proof, one rule after the other. Each rule may rely on those before it.
class Proof {
public:
  Proof(const Schedule &schedule, const TaskTable &table, Purpose purpose)
      : schedule(schedule), table(table), training(purpose == Purpose::Training) {}

  Result<void> run() const {
    for (Result<void> (Proof::*rule)() const : {&Proof::nothingForeign, &Proof::nothingMissing,
                                                &Proof::ordered, &Proof::channelsMatch, &Proof::live}) {
      if (Result<void> outcome = (this->*rule)(); !outcome) {
        return outcome;
      }
    }
    return {};
  }

private:
  Result<void> nothingForeign() const;
  Result<void> nothingMissing() const;
  Result<void> ordered() const;
  Result<void> channelsMatch() const;
  Result<void> live() const;

  const char *whyForeign(const Task &task) const;
  const char *whyTieForeign(const Task &task) const;
  Place blocker(Place place, const std::vector<int> &ran) const;
  Error deadlock(const std::vector<int> &next) const;

  template <typename Check>
  Result<void> forEachTask(Check check) const {
    for (int rank = 0; rank < schedule.rankCount(); ++rank) {
      for (int position = 0; position < static_cast<int>(schedule.ranks[rank].size()); ++position) {
        if (Result<void> outcome = check(Place{rank, position}); !outcome) {
          return outcome;
        }
      }
    }
    return {};
  }
  const Task &at(Place place) const { return schedule.ranks[place.rank][place.position]; }

  const Schedule &schedule;
  const TaskTable &table;
  const bool training;
};

// ---- complete: no task too many, none missing (the table has refused doubled ones)
// ----------------------------------

const char *Proof::whyForeign(const Task &task) const {
  switch (task.kind) {
  case TaskKind::Forward:
  case TaskKind::Prepare: // an evaluation pass may have it: the derived values may already be there
  case TaskKind::AllGather:
    return nullptr;
  case TaskKind::SendForward:
  case TaskKind::ReceiveForward:
    break;
  default:
    if (!training) {
      return "an evaluation pass has forward tasks only";
    }
  }
  if (isTied(task.kind)) {
    return whyTieForeign(task);
  }
  const int s = task.stage, k = task.microBatch;
  switch (task.kind) {
  case TaskKind::SendForward:
  case TaskKind::ReceiveBackward:
    return table.crossesRanks(s) ? nullptr : "no other rank holds the next stage";
  case TaskKind::ReceiveForward:
  case TaskKind::SendBackward:
    return table.crossesRanks(s - 1) ? nullptr : "no other rank holds the previous stage";
  case TaskKind::Backward:
    return table.has(TaskKind::BackwardInput, s, k) || table.has(TaskKind::BackwardWeight, s, k)
               ? "B stands for I and W, and one of them is here too"
               : nullptr;
  default:
    return nullptr;
  }
}

const char *Proof::whyTieForeign(const Task &task) const {
  const bool owns = task.kind == TaskKind::ReceiveSum || task.kind == TaskKind::SendWeight;
  if (owns ? task.stage >= task.microBatch : task.stage <= task.microBatch) {
    return "a tied parameter belongs to the earlier of its stages";
  }
  return schedule.rankOfStage[task.stage] == schedule.rankOfStage[task.microBatch]
             ? "both stages lie on one rank"
             : nullptr;
}

Result<void> Proof::nothingForeign() const {
  return forEachTask([&](Place place) -> Result<void> {
    const char *why = whyForeign(at(place));
    return why ? Result<void>(errorAt(schedule, place, std::string("the task does not belong here: ") + why))
               : Result<void>();
  });
}

Result<void> Proof::nothingMissing() const {
  auto missing = [&](const Task &task) {
    return userError("rank " + std::to_string(schedule.rankOfStage[task.stage]), text(task) + " is missing");
  };
  const StepExchanges exchanges = exchangesOf(schedule);
  const auto isWanted = [&](TaskKind kind) {
    return kind == TaskKind::Reduce ? exchanges.reduces : kind == TaskKind::Gather ? exchanges.gathers : true;
  };
  for (int stage = 0; stage < schedule.stages; ++stage) {
    for (TaskKind kind :
         {TaskKind::Prepare, TaskKind::Norm, TaskKind::Update, TaskKind::Reduce, TaskKind::Gather}) {
      if (training && !table.has(kind, stage) && isWanted(kind)) {
        return missing({kind, stage, -1});
      }
    }
    for (int k = 0; k < schedule.microBatches; ++k) {
      for (TaskKind kind :
           {TaskKind::Forward, TaskKind::BackwardInput, TaskKind::BackwardWeight, TaskKind::SendForward,
            TaskKind::ReceiveForward, TaskKind::SendBackward, TaskKind::ReceiveBackward}) {
        const bool partOfBackward = kind == TaskKind::BackwardInput || kind == TaskKind::BackwardWeight;
        const bool there =
            table.has(kind, stage, k) || (partOfBackward && table.has(TaskKind::Backward, stage, k));
        if (!there && !whyForeign({kind, stage, k})) {
          return missing({kind, stage, k});
        }
      }
    }
  }
  for (const Tie &tie : exchanges.ties) {
    for (const Task &task : {Task{TaskKind::SendSum, tie.holder, tie.owner},
                             {TaskKind::ReceiveSum, tie.owner, tie.holder},
                             {TaskKind::SendWeight, tie.owner, tie.holder},
                             {TaskKind::ReceiveWeight, tie.holder, tie.owner}}) {
      if (table.find(task).position < 0) {
        return missing(task);
      }
    }
  }
  for (int rank = 0; rank < schedule.rankCount(); ++rank) {
    if (table.allGather(rank).position < 0) {
      return userError("rank " + std::to_string(rank), "ALL_GATHER is missing");
    }
  }
  return {};
}

// ---- ordered: each rank's list alone
// --------------------------------------------------------------------------------

Result<void> Proof::ordered() const {
  std::vector<int> lastOfStage(schedule.stages, -1);  // position of the last task that NORM stands behind
  std::vector<int> lastGradient(schedule.stages, -1); // and SEND_SUM
  std::vector<int> lastOfRank(schedule.rankCount(),
                              -1); // position of the last task that ALL_GATHER stands behind
  (void)forEachTask([&](Place place) -> Result<void> {
    const Task &task = at(place);
    const bool sums = task.kind == TaskKind::SendSum || task.kind == TaskKind::ReceiveSum;
    if (hasMicroBatch(task.kind) || sums || task.kind == TaskKind::Reduce) {
      lastOfStage[task.stage] = place.position;
    }
    if (includes(task.kind, TaskKind::BackwardWeight)) {
      lastGradient[task.stage] = place.position;
    }
    const bool closes = task.kind == TaskKind::Update || task.kind == TaskKind::Gather;
    if (task.kind != TaskKind::AllGather && !closes && (sums || !isTied(task.kind))) {
      lastOfRank[place.rank] = place.position;
    }
    return {};
  });
  return forEachTask([&](Place place) -> Result<void> {
    const Task &task = at(place);
    std::array<Place, 3> earlier; // position -1, the default, is never behind
    if (hasMicroBatch(task.kind)) {
      const std::optional<Task> receive = table.receiveFor(task);
      earlier = {table.find(TaskKind::Prepare, task.stage), table.ownInput(task).value_or(Place{}),
                 receive ? table.find(*receive) : table.neighbourInput(task).value_or(Place{})};
    } else if (task.kind == TaskKind::Norm) {
      earlier[0] = {place.rank, lastOfStage[task.stage]};
    } else if (task.kind == TaskKind::AllGather) {
      earlier[0] = {place.rank, lastOfRank[place.rank]};
    } else if (task.kind == TaskKind::Update || task.kind == TaskKind::ReceiveWeight) {
      earlier[0] = table.allGather(place.rank);
    } else if (task.kind == TaskKind::SendSum || task.kind == TaskKind::Reduce) {
      earlier[0] = {place.rank, lastGradient[task.stage]};
      earlier[1] = task.kind == TaskKind::SendSum ? table.find(TaskKind::Reduce, task.stage) : Place{};
    } else if (task.kind == TaskKind::SendWeight || task.kind == TaskKind::Gather) {
      earlier[0] = table.find(TaskKind::Update, task.stage);
      earlier[1] = task.kind == TaskKind::SendWeight ? table.find(TaskKind::Gather, task.stage) : Place{};
    }
    for (Place other : earlier) {
      if (other.position > place.position) {
        return errorAt(schedule, place,
                       "the task stands before " + text(at(other)) + ", which it has to follow");
      }
    }
    return {};
  });
}

// ---- live: the ranks together
// ---------------------------------------------------------------------------------------

// Both ends of a channel list the same messages, so they agree on the order exactly when each message has the
// same number at both ends.
Result<void> Proof::channelsMatch() const {
  std::vector<std::vector<int>> number(schedule.rankCount()); // of each transfer on its channel
  const auto moves = [](const Task &task) { return isTransfer(task.kind) || isTied(task.kind); };
  std::vector<int> used(kTaskKinds * static_cast<std::size_t>(schedule.rankCount()), 0);
  for (int rank = 0; rank < schedule.rankCount(); ++rank) {
    const std::vector<Task> &tasks = schedule.ranks[rank];
    auto counter = [&](const Task &task) -> int & {
      return used[kTaskKinds * static_cast<std::size_t>(table.otherEnd(task).rank) +
                  static_cast<int>(task.kind)];
    };
    number[rank].assign(tasks.size(), -1);
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      if (moves(tasks[i])) {
        number[rank][i] = counter(tasks[i])++;
      }
    }
    for (const Task &task : tasks) { // only the counters that were used: ranks x ranks would not be linear
      if (moves(task)) {
        counter(task) = 0;
      }
    }
  }
  return forEachTask([&](Place place) -> Result<void> {
    const Task &task = at(place);
    if (!moves(task)) {
      return {};
    }
    const Place other = table.otherEnd(task);
    const int here = number[place.rank][place.position], there = number[other.rank][other.position];
    if (here == there) {
      return {};
    }
    return errorAt(schedule, place,
                   "the task is transfer " + std::to_string(here) + " on its channel, but " +
                       text(at(other)) + " of rank " + std::to_string(other.rank) + " is transfer " +
                       std::to_string(there),
                   "list both ends of a channel in the same order");
  });
}

/// The task of another rank that must have run before this one can: a send waits until the receive is posted,
/// a consumer until its transfer is complete, which is when the send has run. NORM may wait for several: the
/// first of which `ran`, the number of tasks that each rank has run, says that it has not.
Place Proof::blocker(Place place, const std::vector<int> &ran) const {
  const Task &task = at(place);
  if (task.kind == TaskKind::SendForward || task.kind == TaskKind::SendBackward ||
      task.kind == TaskKind::SendSum || task.kind == TaskKind::SendWeight) {
    return table.otherEnd(task);
  }
  if (task.kind == TaskKind::Norm) {
    for (auto it = table.tied().lower_bound({TaskKind::ReceiveSum, task.stage, 0});
         it != table.tied().end() && it->first.kind == TaskKind::ReceiveSum && it->first.stage == task.stage;
         ++it) {
      const Place send = table.otherEnd(it->first);
      if (send.position >= ran[send.rank]) {
        return send;
      }
    }
    return {};
  }
  const std::optional<Task> receive = table.receiveFor(task);
  return receive ? table.otherEnd(*receive) : Place{};
}

Result<void> Proof::live() const {
  std::vector<int> ran(schedule.rankCount(), 0);
  const std::vector<int> next = execute(
      schedule, [&](Place place) { return blocker(place, ran); },
      [&](Place place) { ran[place.rank] = place.position + 1; });
  for (int rank = 0; rank < schedule.rankCount(); ++rank) {
    if (next[rank] < static_cast<int>(schedule.ranks[rank].size())) {
      return deadlock(next);
    }
  }
  return {};
}

/// Follows who waits for whom from the first rank that stands still until a rank comes up again.
Error Proof::deadlock(const std::vector<int> &next) const {
  auto stuck = [&](int rank) { return next[rank] < static_cast<int>(schedule.ranks[rank].size()); };
  auto waitsForGather = [&](int rank) { return at({rank, next[rank]}).kind == TaskKind::AllGather; };
  int rank = 0;
  while (!stuck(rank)) {
    ++rank;
  }
  const Place first{rank, next[rank]};
  std::string chain;
  std::vector<bool> seen(schedule.rankCount(), false);
  while (!seen[rank]) {
    seen[rank] = true;
    const Place here{rank, next[rank]};
    Place other = blocker(here, next);
    if (waitsForGather(rank)) {
      for (other.rank = 0; waitsForGather(other.rank); ++other.rank) {
      }
      other.position = table.allGather(other.rank).position;
    }
    chain += (chain.empty() ? "" : "; ") +
             ("rank " + std::to_string(rank) + " at " + text(at(here)) + " waits for " + text(at(other)) +
              " of rank " + std::to_string(other.rank));
    rank = other.rank;
  }
  return errorAt(schedule, first, "deadlock when sends block: " + chain);
}

} // namespace

Result<void> verify(const Schedule &schedule, Purpose purpose) {
  Result<TaskTable> table = TaskTable::build(schedule);
  return table ? Proof(schedule, *table, purpose).run() : Result<void>(table.takeError());
}

bool isPlanInvariant(const Schedule &schedule) {
  std::map<std::pair<TaskKind, int>, int> latest; // micro-batch, per kind and stage
  auto ascends = [&](TaskKind kind, const Task &task) {
    auto [entry, first] = latest.try_emplace({kind, task.stage}, task.microBatch);
    const int before = std::exchange(entry->second, task.microBatch);
    return first || before < task.microBatch;
  };
  for (const std::vector<Task> &tasks : schedule.ranks) {
    for (const Task &task : tasks) {
      const bool both = task.kind == TaskKind::Backward;
      if (both ? !ascends(TaskKind::BackwardInput, task) || !ascends(TaskKind::BackwardWeight, task)
               : isCompute(task.kind) && !ascends(task.kind, task)) {
        return false;
      }
    }
  }
  return true;
}

} // namespace stagewright::schedule
