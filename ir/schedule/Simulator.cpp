#include "schedule/Execution.h"

#include <algorithm>
#include <cmath>

namespace stagewright::schedule {

namespace {

Result<void> checkCosts(const Costs &costs, int stages) {
  auto bad = [](double value) { return !std::isfinite(value) || value < 0; };
  for (const std::vector<double> *perStage : {&costs.forward, &costs.backwardInput, &costs.backwardWeight}) {
    if (!perStage->empty() && perStage->size() != static_cast<std::size_t>(stages)) {
      return userError("costs", "there are " + std::to_string(stages) + " stages, but costs are given for " +
                                    std::to_string(perStage->size()));
    }
    if (std::any_of(perStage->begin(), perStage->end(), bad)) {
      return userError("costs", "a cost is not a number of seconds");
    }
  }
  return bad(costs.latency) ? Result<void>(userError("costs", "the latency is not a number of seconds"))
                            : Result<void>();
}

double costOf(const Task &task, const Costs &costs) {
  auto of = [&](const std::vector<double> &perStage) {
    return perStage.empty() ? 1.0 : perStage[task.stage];
  };
  switch (task.kind) {
  case TaskKind::Forward:
    return of(costs.forward);
  case TaskKind::BackwardInput:
    return of(costs.backwardInput);
  case TaskKind::BackwardWeight:
    return of(costs.backwardWeight);
  default:
    return of(costs.backwardInput) + of(costs.backwardWeight);
  }
}

class Simulation {
public:
  Simulation(const Schedule &schedule, const TaskTable &table, const Costs &costs)
      : schedule(schedule), table(table), costs(costs), ends(schedule.ranks.size()),
        clock(schedule.ranks.size(), 0) {
    timeline.ranks.resize(schedule.ranks.size());
    timeline.busy.assign(schedule.ranks.size(), 0);
    for (std::size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
      const std::vector<Task> &tasks = schedule.ranks[rank];
      ends[rank].assign(tasks.size(), 0);
      explicitTransfers |=
          std::any_of(tasks.begin(), tasks.end(), [](const Task &task) { return isTransfer(task.kind); });
    }
  }

  Result<Timeline> run();

private:
  std::optional<Task> receiveFor(const Task &task) const {
    return explicitTransfers ? table.receiveFor(task) : std::nullopt;
  }
  Place blocker(Place place) const;
  void ran(Place place);
  int peakInFlight(int rank) const;

  const Task &at(Place place) const { return schedule.ranks[place.rank][place.position]; }
  double end(Place place) const { return ends[place.rank][place.position]; }

  const Schedule &schedule;
  const TaskTable &table;
  const Costs &costs;
  bool explicitTransfers = false;
  std::vector<std::vector<double>> ends; // of each task; SEND and RECV take no time
  std::vector<double> clock;
  Timeline timeline;
};

/// What `place` waits for; itself when it would wait for ever.
Place Simulation::blocker(Place place) const {
  const Task &task = at(place);
  auto runsBefore = [&](Place own) { return own.position >= 0 && own.position < place.position; };
  if (!hasMicroBatch(task.kind)) {
    return {};
  }
  if (std::optional<Place> own = table.ownInput(task); own && !runsBefore(*own)) {
    return place;
  }
  if (std::optional<Task> receive = receiveFor(task)) {
    const Place send = table.otherEnd(*receive);
    return send.position >= 0 && runsBefore(table.find(*receive)) ? send : place;
  }
  const std::optional<Place> producer = table.neighbourInput(task);
  return producer ? (producer->position >= 0 ? *producer : place) : Place{};
}

void Simulation::ran(Place place) {
  const Task &task = at(place);
  double &now = clock[place.rank];
  if (isCompute(task.kind)) {
    // The receive stands before this task in the list, so it is posted by now.
    const std::optional<Task> receive = receiveFor(task);
    if (std::optional<Place> source = receive ? table.otherEnd(*receive) : table.neighbourInput(task)) {
      now = std::max(now, end(*source) + (source->rank == place.rank ? 0 : costs.latency));
    }
    const double cost = costOf(task, costs);
    timeline.ranks[place.rank].push_back({task, now, now + cost});
    timeline.busy[place.rank] += cost;
    now += cost;
  }
  ends[place.rank][place.position] = now;
}

int Simulation::peakInFlight(int rank) const {
  int held = 0, peak = 0;
  for (const Task &task : schedule.ranks[rank]) {
    if (task.kind == TaskKind::Forward) {
      peak = std::max(peak, ++held);
      // In an evaluation pass only F holds it.
      held -= table.findInputGradient(task.stage, task.microBatch).position < 0;
    } else if (makesInputGradient(task.kind)) {
      --held;
    }
  }
  return peak;
}

Result<Timeline> Simulation::run() {
  const std::vector<int> next = execute(
      schedule, [&](Place place) { return blocker(place); }, [&](Place place) { ran(place); });
  double first = INFINITY, last = 0;
  for (int rank = 0; rank < schedule.rankCount(); ++rank) {
    if (next[rank] < static_cast<int>(schedule.ranks[rank].size())) {
      return errorAt(schedule, {rank, next[rank]}, "the schedule cannot finish: this task waits for ever");
    }
    if (const std::vector<TimedTask> &tasks = timeline.ranks[rank]; !tasks.empty()) {
      first = std::min(first, tasks.front().start);
      last = std::max(last, tasks.back().end);
    }
    timeline.peakInFlight.push_back(peakInFlight(rank));
  }
  timeline.makespan = std::max(0.0, last - first);
  return std::move(timeline);
}

} // namespace

double Timeline::bubbleFraction() const {
  double total = 0;
  for (double seconds : busy) {
    total += seconds;
  }
  return makespan > 0 ? 1 - total / (makespan * static_cast<double>(busy.size())) : 0;
}

Result<Timeline> simulate(const Schedule &schedule, const Costs &costs) {
  Result<TaskTable> table = TaskTable::build(schedule);
  if (!table) {
    return table.takeError();
  }
  if (Result<void> checked = checkCosts(costs, schedule.stages); !checked) {
    return checked.takeError();
  }
  return Simulation(schedule, *table, costs).run();
}

} // namespace stagewright::schedule
