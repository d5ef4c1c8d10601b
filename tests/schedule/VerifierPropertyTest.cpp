// verify() against a machine (TaskMachine.h) that knows nothing but the meaning of the tasks.
#include "TaskMachine.h"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <random>
#include <set>

using namespace stagewright;
using namespace stagewright::schedule;

namespace {

// ---- Random schedules
// -----------------------------------------------------------------------------------------------

class RandomSchedules {
public:
  explicit RandomSchedules(unsigned seed) : random(seed) {}

  int below(int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); }

  /// A schedule that is valid or, after legal reorderings in each list, may be.
  Schedule make(Purpose purpose) {
    const int p = 1 + below(5), m = 1 + below(8);
    Schedule schedule;
    if (purpose == Purpose::Evaluation) {
      schedule = *generateEvaluation(p, m);
    } else if (below(3) > 0) {
      schedule = *generate(scheduleKinds()[below(static_cast<int>(scheduleKinds().size()))], p, m);
      schedule = complete(schedule);
    } else {
      schedule = complete(anyOrder(p, m));
    }
    if (below(3) == 0) {
      for (int swaps = 1 + below(12); swaps > 0; --swaps) {
        swapIndependentNeighbours(schedule);
      }
    }
    if (below(2) == 0) {
      for (int moves = 1 + below(2 * m); moves > 0; --moves) {
        moveTransfer(schedule);
      }
    }
    return schedule;
  }

  static constexpr std::array<const char *, 12> kMutations = {"two neighbours swapped",
                                                              "any two tasks swapped",
                                                              "task dropped",
                                                              "task doubled",
                                                              "two sends crossed",
                                                              "two receives crossed",
                                                              "sends and receives crossed alike",
                                                              "task moved to another rank",
                                                              "task moved within its rank",
                                                              "stage changed",
                                                              "micro-batch changed",
                                                              "kind changed"};

  /// Applies mutation `which`; returns false if this schedule has nothing to apply it to.
  bool mutate(Schedule &schedule, int which) {
    std::vector<Task> &tasks = schedule.ranks[below(schedule.rankCount())];
    const int n = static_cast<int>(tasks.size());
    if (n < 2) {
      return false;
    }
    const int i = below(n), j = below(n);
    switch (which) {
    case 0:
      std::swap(tasks[i % (n - 1)], tasks[i % (n - 1) + 1]);
      return true;
    case 1:
      std::swap(tasks[i], tasks[j]);
      return true;
    case 2:
      tasks.erase(tasks.begin() + i);
      return true;
    case 3:
      tasks.insert(tasks.begin() + j, Task(tasks[i]));
      return true;
    case 4:
      return cross(tasks, below(2) ? TaskKind::SendForward : TaskKind::SendBackward);
    case 5:
      return cross(tasks, below(2) ? TaskKind::ReceiveForward : TaskKind::ReceiveBackward);
    case 6:
      return crossBothEnds(schedule);
    case 7: {
      std::vector<Task> &other = schedule.ranks[below(schedule.rankCount())];
      const Task task = tasks[i];
      tasks.erase(tasks.begin() + i);
      other.insert(other.begin() + below(static_cast<int>(other.size()) + 1), task);
      return true;
    }
    case 8:
      std::rotate(tasks.begin() + std::min(i, j), tasks.begin() + std::max(i, j),
                  tasks.begin() + std::max(i, j) + 1);
      return true;
    case 9:
      tasks[i].stage = below(schedule.stages + 2) - 1;
      return true;
    case 10:
      tasks[i].microBatch = below(schedule.microBatches + 2) - 1;
      return true;
    default:
      tasks[i].kind = static_cast<TaskKind>(below(kTaskKinds + 1));
      return true;
    }
  }

private:
  /// With transfers, step tasks, and tied parameters between up to three pairs of stages.
  Schedule complete(const Schedule &compute) {
    std::set<Tie> ties;
    for (int tries = below(2) ? 0 : 1 + below(3); tries > 0 && compute.stages > 1; --tries) {
      const int owner = below(compute.stages - 1);
      const int holder = owner + 1 + below(compute.stages - 1 - owner);
      if (compute.rankOfStage[owner] != compute.rankOfStage[holder]) {
        ties.insert({owner, holder});
      }
    }
    const StepExchanges exchanges{{ties.begin(), ties.end()}, below(2) == 0, below(3) == 0};
    return addStepTasks(*addTransfers(compute, exchanges), exchanges);
  }

  /// Compute tasks in any order that the data allows, with up to two stages per rank anywhere, B or I and W.
  Schedule anyOrder(int p, int m) {
    Schedule schedule{"any", p + below(p + 1), m, {}, std::vector<std::vector<Task>>(p)};
    for (int stage = 0; stage < schedule.stages; ++stage) {
      const int turned = stage < p ? stage : 2 * p - 1 - stage; // V placement
      schedule.rankOfStage.push_back(below(2) ? turned : below(p));
    }
    std::vector<Task> open;
    for (int s = 0; s < schedule.stages; ++s) {
      for (int k = 0; k < m; ++k) {
        open.push_back({TaskKind::Forward, s, k});
        if (below(2)) {
          open.push_back({TaskKind::Backward, s, k});
        } else {
          open.insert(open.end(), {{TaskKind::BackwardInput, s, k}, {TaskKind::BackwardWeight, s, k}});
        }
      }
    }
    std::set<Task> ran; // F, I (also for B)
    auto possible = [&](const Task &task) {
      const int s = task.stage, k = task.microBatch;
      switch (task.kind) {
      case TaskKind::Forward:
        return s == 0 || ran.contains({TaskKind::Forward, s - 1, k});
      case TaskKind::BackwardWeight:
        return ran.contains({TaskKind::BackwardInput, s, k});
      default:
        return ran.contains({TaskKind::Forward, s, k}) &&
               (s + 1 == schedule.stages || ran.contains({TaskKind::BackwardInput, s + 1, k}));
      }
    };
    while (!open.empty()) {
      const int i = below(static_cast<int>(open.size()));
      const Task task = open[i];
      if (possible(task)) {
        schedule.ranks[schedule.rankOfStage[task.stage]].push_back(task);
        ran.insert({task.kind == TaskKind::Backward ? TaskKind::BackwardInput : task.kind, task.stage,
                    task.microBatch});
        open.erase(open.begin() + i);
      }
    }
    return schedule;
  }

  /// Swaps two neighbours that do not read from each other: the list stays legal on its own, the ranks
  /// together may not.
  void swapIndependentNeighbours(Schedule &schedule) {
    std::vector<Task> &tasks = schedule.ranks[below(schedule.rankCount())];
    if (tasks.size() < 2) {
      return;
    }
    const int i = below(static_cast<int>(tasks.size()) - 1);
    const Task &a = tasks[i], &b = tasks[i + 1];
    if (hasMicroBatch(a.kind) && hasMicroBatch(b.kind) && a.microBatch != b.microBatch) {
      std::swap(tasks[i], tasks[i + 1]);
    }
  }

  /// Moves a SEND to anywhere behind its producer, or a RECV to anywhere before its consumer.
  void moveTransfer(Schedule &schedule) {
    std::vector<Task> &tasks = schedule.ranks[below(schedule.rankCount())];
    const int from = below(static_cast<int>(tasks.size()));
    const Task task = tasks[from];
    if (task.kind == TaskKind::ReceiveSum) { // to anywhere before NORM
      tasks.erase(tasks.begin() + from);
      tasks.insert(tasks.begin() + below(from + 1), task);
    }
    if (!isTransfer(task.kind)) {
      return;
    }
    const bool forward = task.kind == TaskKind::SendForward || task.kind == TaskKind::ReceiveForward;
    const bool send = task.kind == TaskKind::SendForward || task.kind == TaskKind::SendBackward;
    tasks.erase(tasks.begin() + from);
    auto first =
        std::find_if(tasks.begin(), tasks.end(), [](const Task &t) { return t.kind != TaskKind::Prepare; });
    auto last = std::find_if(tasks.begin(), tasks.end(), [](const Task &t) {
      return t.kind == TaskKind::Norm || t.kind == TaskKind::AllGather;
    });
    auto compute = std::find_if(tasks.begin(), tasks.end(), [&](const Task &t) {
      const bool kind = forward ? t.kind == TaskKind::Forward
                                : t.kind == TaskKind::BackwardInput || t.kind == TaskKind::Backward;
      return kind && t.stage == task.stage && t.microBatch == task.microBatch;
    });
    const auto begin = send ? compute + 1 : first, end = send ? last : compute;
    tasks.insert(begin + below(static_cast<int>(end - begin) + 1), task);
  }

  bool cross(std::vector<Task> &tasks, TaskKind kind) {
    std::vector<Task *> same;
    for (Task &task : tasks) {
      if (task.kind == kind) {
        same.push_back(&task);
      }
    }
    if (same.size() < 2) {
      return false;
    }
    const int i = below(static_cast<int>(same.size()) - 1);
    std::swap(*same[i], *same[i + 1 + below(static_cast<int>(same.size()) - 1 - i)]);
    return true;
  }

  /// Swaps two messages of one channel at both ends.
  bool crossBothEnds(Schedule &schedule) {
    const int stage = below(schedule.stages), a = below(schedule.microBatches),
              b = below(schedule.microBatches);
    const bool forward = below(2);
    bool crossed = false;
    for (std::vector<Task> &tasks : schedule.ranks) {
      for (Task &task : tasks) {
        const bool send =
            task.kind == (forward ? TaskKind::SendForward : TaskKind::SendBackward) && task.stage == stage;
        const bool receive = task.kind == (forward ? TaskKind::ReceiveForward : TaskKind::ReceiveBackward) &&
                             task.stage == stage + (forward ? 1 : -1);
        if ((send || receive) && (task.microBatch == a || task.microBatch == b)) {
          task.microBatch = a + b - task.microBatch;
          crossed = true;
        }
      }
    }
    return crossed && a != b;
  }

  std::mt19937 random;
};

std::string describe(const Schedule &schedule) {
  std::string out = std::to_string(schedule.stages) + " stages, " + std::to_string(schedule.microBatches) +
                    " micro-batches\n";
  for (const std::vector<Task> &tasks : schedule.ranks) {
    for (const Task &task : tasks) {
      out += text(task) + " ";
    }
    out += "\n";
  }
  return out;
}

} // namespace

TEST(VerifierProperty, AcceptsExactlyWhatTheMachineCompletes) {
  constexpr int kRounds = 100000;
  RandomSchedules random(20240229);
  std::array<int, kVerdicts> verdicts{};
  std::array<std::array<int, 2>, RandomSchedules::kMutations.size()>
      mutated{}; // [mutation][refused, accepted], alone
  int reordered = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Purpose purpose = round % 8 == 0 ? Purpose::Evaluation : Purpose::Training;
    Schedule schedule = random.make(purpose);
    std::optional<int> only;
    if (round % 2 == 0) {
      for (int mutations = random.below(4) > 0 ? 1 : 3; mutations > 0; --mutations) {
        const int which = random.below(static_cast<int>(RandomSchedules::kMutations.size()));
        const Schedule before = schedule;
        const bool applied = random.mutate(schedule, which) && schedule != before;
        only = applied && mutations == 1 && judge(before, purpose) == Accepted ? std::optional(which)
                                                                               : std::nullopt;
      }
    }
    const Verdict verdict = judge(schedule, purpose);
    const Result<void> proof = verify(schedule, purpose);
    ASSERT_EQ(static_cast<bool>(proof), verdict == Accepted)
        << "round " << round << ": the machine says " << verdict << ", the verifier "
        << (proof ? "accepts" : proof.error().text()) << "\n"
        << describe(schedule);
    if (!proof) {
      ASSERT_FALSE(proof.error().what.empty());
      const bool deadlock = proof.error().what.find("deadlock") != std::string::npos;
      ASSERT_TRUE(!deadlock || verdict == Deadlock) << proof.error().text() << "\n" << describe(schedule);
    }
    ++verdicts[verdict];
    if (only) {
      ++mutated[*only][verdict == Accepted];
    }
    reordered += verdict == Accepted && round % 2 == 0;
  }
  RecordProperty("accepted", verdicts[Accepted]);
  std::cout << "accepted " << verdicts[Accepted] << ", incomplete " << verdicts[Incomplete]
            << ", wrong message " << verdicts[WrongMessage] << ", out of order " << verdicts[OutOfOrder]
            << ", deadlock " << verdicts[Deadlock] << ", accepted although mutated " << reordered << "\n";
  EXPECT_GE(verdicts[Accepted], kRounds / 5);
  EXPECT_LE(verdicts[Accepted], kRounds * 4 / 5);
  EXPECT_GE(verdicts[Incomplete], 10000);
  EXPECT_GE(verdicts[WrongMessage], 500);
  EXPECT_GE(verdicts[OutOfOrder], 1000);
  EXPECT_GE(verdicts[Deadlock], 1000);
  for (std::size_t i = 0; i < mutated.size(); ++i) {
    std::cout << RandomSchedules::kMutations[i] << ": " << mutated[i][0] << " refused, " << mutated[i][1]
              << " accepted\n";
    EXPECT_GE(mutated[i][0], 100) << RandomSchedules::kMutations[i];
  }
  EXPECT_GE(mutated[0][1], 100); // neighbours that may stand either way
}

// The machine itself, on cases decided by hand.
TEST(VerifierProperty, TheMachineKnowsTheSmallCases) {
  auto judged = [](std::vector<const char *> ranks, std::vector<int> rankOfStage, int m) {
    Schedule schedule{"", static_cast<int>(rankOfStage.size()), m, rankOfStage, {}};
    for (const char *rank : ranks) {
      schedule.ranks.push_back(*parseTasks(rank));
    }
    return judge(addStepTasks(schedule), Purpose::Training);
  };
  EXPECT_EQ(judged({"0F0, 0B0"}, {0}, 1), Accepted);
  EXPECT_EQ(judged({"0B0, 0F0"}, {0}, 1), OutOfOrder);
  EXPECT_EQ(judged({"0F0"}, {0}, 1), Incomplete);
  const char *rank0 = "0F0, 0SEND_F0, 0F1, 0SEND_F1, 0RECV_B0, 0B0, 0RECV_B1, 0B1";
  EXPECT_EQ(judged({rank0, "1RECV_F0, 1F0, 1RECV_F1, 1B0, 1SEND_B0, 1F1, 1B1, 1SEND_B1"}, {0, 1}, 2),
            Accepted);
  EXPECT_EQ(judged({rank0, "1RECV_F0, 1F0, 1B0, 1SEND_B0, 1RECV_F1, 1F1, 1B1, 1SEND_B1"}, {0, 1}, 2),
            Deadlock);
  EXPECT_EQ(judged({rank0, "1RECV_F1, 1RECV_F0, 1F0, 1F1, 1B0, 1SEND_B0, 1B1, 1SEND_B1"}, {0, 1}, 2),
            WrongMessage);
}
