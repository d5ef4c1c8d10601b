// Compute tasks of one step, one stage per rank. In the pictures a column is one time unit (F = I = W = 1, B
// = I + W takes two columns), p = 4 stages, m = 4 micro-batches.
#include "schedule/TaskTable.h"

#include <algorithm>
#include <numeric>

namespace stagewright::schedule {

namespace {

using Tasks = std::vector<Task>;

void add(Tasks &tasks, TaskKind kind, int stage, int microBatch) {
  tasks.push_back({kind, stage, microBatch});
}

// GPipe: all forwards, then all backwards. Huang et al., "GPipe: Efficient Training of Giant Neural Networks
// using Pipeline Parallelism", NeurIPS 2019 (with the backwards ascending).
//
//   rank 0  F0 F1 F2 F3                            B0--- B1--- B2--- B3---
//   rank 1     F0 F1 F2 F3                   B0--- B1--- B2--- B3---
//   rank 2        F0 F1 F2 F3          B0--- B1--- B2--- B3---
//   rank 3           F0 F1 F2 F3 B0--- B1--- B2--- B3---
void gpipe(Tasks &tasks, int stages, int stage, int microBatches) {
  for (int k = 0; k < microBatches; ++k) {
    add(tasks, TaskKind::Forward, stage, k);
  }
  for (int k = 0; k < microBatches; ++k) {
    add(tasks, TaskKind::Backward, stage, k);
  }
}

// 1F1B: enough forwards to fill the pipe, then one forward and one backward in turn, so that rank r holds at
// most p - r micro-batches. Narayanan et al., "PipeDream", SOSP 2019; in its synchronous form "Efficient
// Large-Scale Language Model Training on GPU Clusters Using Megatron-LM", SC 2021.
//
//   rank 0  F0 F1 F2 F3                   B0---    B1---    B2---    B3---
//   rank 1     F0 F1 F2             B0--- F3 B1---    B2---    B3---
//   rank 2        F0 F1       B0--- F2 B1--- F3 B2---    B3---
//   rank 3           F0 B0--- F1 B1--- F2 B2--- F3 B3---
void oneForwardOneBackward(Tasks &tasks, int stages, int stage, int microBatches) {
  const int warmUp = std::min(microBatches, stages - 1 - stage);
  for (int k = 0; k < warmUp; ++k) {
    add(tasks, TaskKind::Forward, stage, k);
  }
  for (int k = 0; k < microBatches; ++k) {
    if (warmUp + k < microBatches) {
      add(tasks, TaskKind::Forward, stage, warmUp + k);
    }
    add(tasks, TaskKind::Backward, stage, k);
  }
}

// ZB-H1: 1F1B with the backward split. The input gradients hurry back to rank 0; rank r delays each weight
// gradient by r micro-batches and so fills the bubble at the end. Qi et al., "Zero Bubble Pipeline
// Parallelism", ICLR 2024.
//
//   rank 0  F0 F1 F2 F3          I0 W0 I1 W1 I2 W2 I3 W3
//   rank 1     F0 F1 F2       I0 F3 I1 W0 I2 W1 I3 W2 W3
//   rank 2        F0 F1    I0 F2 I1 F3 I2 W0 I3 W1 W2 W3
//   rank 3           F0 I0 F1 I1 F2 I2 F3 I3 W0 W1 W2 W3
void zeroBubbleH1(Tasks &tasks, int stages, int stage, int microBatches) {
  const int warmUp = std::min(microBatches, stages - 1 - stage);
  for (int k = 0; k < warmUp; ++k) {
    add(tasks, TaskKind::Forward, stage, k);
  }
  for (int k = 0; k < microBatches; ++k) {
    if (warmUp + k < microBatches) {
      add(tasks, TaskKind::Forward, stage, warmUp + k);
    }
    add(tasks, TaskKind::BackwardInput, stage, k);
    if (k >= stage) {
      add(tasks, TaskKind::BackwardWeight, stage, k - stage);
    }
  }
  for (int k = std::max(0, microBatches - stage); k < microBatches; ++k) {
    add(tasks, TaskKind::BackwardWeight, stage, k);
  }
}

struct Generator {
  const char *name;
  void (*tasksOfStage)(Tasks &tasks, int stages, int stage, int microBatches);
};
constexpr Generator kGenerators[] = {
    {"gpipe", gpipe}, {"1f1b", oneForwardOneBackward}, {"zb-h1", zeroBubbleH1}};

/// Edits (one character put in, taken out or replaced) that turn `a` into `b`.
std::size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

Error unknownKind(std::string_view kind) {
  std::string known;
  const Generator *nearest = std::min_element(
      std::begin(kGenerators), std::end(kGenerators), [&](const Generator &a, const Generator &b) {
        return editDistance(kind, a.name) < editDistance(kind, b.name);
      });
  for (const Generator &generator : kGenerators) {
    known += (known.empty() ? "" : ", ") + std::string(generator.name);
  }
  return userError("schedule", "unknown schedule '" + std::string(kind) + "'",
                   "did you mean '" + std::string(nearest->name) + "'? Known are " + known);
}

// Keeps a mistyped number from filling the memory.
constexpr std::int64_t kMaxForwards = std::int64_t{1} << 22;

Result<Schedule> empty(std::string kind, int stages, int microBatches) {
  if (stages < 1) {
    return userError("stages", "a pipeline needs at least one stage, not " + std::to_string(stages),
                     "use 1 or more");
  }
  if (microBatches < 1 || microBatches > kMaxMicroBatches) {
    return userError("micro-batches",
                     "a step has 1 to " + std::to_string(kMaxMicroBatches) + " micro-batches, not " +
                         std::to_string(microBatches),
                     "choose another gradient_accumulation_steps");
  }
  if (std::int64_t{stages} * microBatches > kMaxForwards) {
    return userError("stages and micro-batches",
                     std::to_string(stages) + " stages with " + std::to_string(microBatches) +
                         " micro-batches make more than " + std::to_string(kMaxForwards) + " forward tasks",
                     "use fewer stages, or a smaller gradient_accumulation_steps with larger micro-batches");
  }
  Schedule schedule{std::move(kind), stages, microBatches, std::vector<int>(stages), {}};
  std::iota(schedule.rankOfStage.begin(), schedule.rankOfStage.end(), 0);
  schedule.ranks.resize(stages);
  return schedule;
}

} // namespace

const std::vector<std::string> &scheduleKinds() {
  static const std::vector<std::string> kinds = [] {
    std::vector<std::string> names;
    for (const Generator &generator : kGenerators) {
      names.emplace_back(generator.name);
    }
    return names;
  }();
  return kinds;
}

Result<Schedule> generate(std::string_view kind, int stages, int microBatches) {
  const Generator *generator = std::find_if(std::begin(kGenerators), std::end(kGenerators),
                                            [&](const Generator &known) { return kind == known.name; });
  if (generator == std::end(kGenerators)) {
    return unknownKind(kind);
  }
  Result<Schedule> schedule = empty(generator->name, stages, microBatches);
  for (int stage = 0; schedule && stage < stages; ++stage) {
    generator->tasksOfStage(schedule->ranks[stage], stages, stage, microBatches);
  }
  return schedule;
}

// Only the forward half of GPipe's picture. ALL_GATHER shares what the last stage measured.
//
//   rank 0  F0 F1 F2 F3          ALL_GATHER
//   rank 1     F0 F1 F2 F3       ALL_GATHER
//   rank 2        F0 F1 F2 F3    ALL_GATHER
//   rank 3           F0 F1 F2 F3 ALL_GATHER
Result<Schedule> generateEvaluation(int stages, int microBatches) {
  Result<Schedule> forwards = empty("evaluation", stages, microBatches);
  if (!forwards) {
    return forwards;
  }
  for (int stage = 0; stage < stages; ++stage) {
    for (int k = 0; k < microBatches; ++k) {
      add(forwards->ranks[stage], TaskKind::Forward, stage, k);
    }
  }
  Result<Schedule> schedule = addTransfers(*forwards);
  if (schedule) {
    for (Tasks &tasks : schedule->ranks) {
      add(tasks, TaskKind::AllGather, -1, -1);
    }
  }
  return schedule;
}

} // namespace stagewright::schedule
