#include "Golden.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

using namespace stagewright;
using namespace stagewright::schedule;

namespace {

constexpr TaskKind F = TaskKind::Forward, I = TaskKind::BackwardInput, W = TaskKind::BackwardWeight,
                   RF = TaskKind::ReceiveForward, RB = TaskKind::ReceiveBackward;

const std::vector<Task> &listOf(const Schedule &schedule, int stage) {
  return schedule.ranks[schedule.rankOfStage[stage]];
}

/// Position of a task, or of the B that stands for it; -1 if there is none.
int positionOf(const Schedule &schedule, Task task) {
  const std::vector<Task> &tasks = listOf(schedule, task.stage);
  auto found = std::find(tasks.begin(), tasks.end(), task);
  if (found == tasks.end() && (task.kind == I || task.kind == W)) {
    task.kind = TaskKind::Backward;
    found = std::find(tasks.begin(), tasks.end(), task);
  }
  return found == tasks.end() ? -1 : static_cast<int>(found - tasks.begin());
}

bool makesGradient(TaskKind kind) {
  return kind == I || kind == TaskKind::Backward;
}

/// A run in unit time with asynchronous sends, written as a fixed point: times only grow until nothing
/// changes. With slots given (per stage), a producer also waits until the last transfer out of its slot has
/// been taken.
struct UnitTimeRun {
  std::map<Task, double> start, end;

  using Slots = std::map<int, SlotAssignment>;
  explicit UnitTimeRun(const Schedule &schedule, const Slots &forwardSlots = {},
                       const Slots &backwardSlots = {}) {
    std::map<Task, std::optional<int>> slotBefore; // micro-batch that had the producer's slot before it
    std::map<std::tuple<bool, int, int>, int> owner;
    for (const std::vector<Task> &tasks : schedule.ranks) {
      for (const Task &task : tasks) {
        const Slots &slots = task.kind == F ? forwardSlots : backwardSlots;
        if ((task.kind == F || makesGradient(task.kind)) && slots.contains(task.stage)) {
          const std::tuple slot{task.kind == F, task.stage, slots.at(task.stage).slotOf[task.microBatch]};
          if (owner.contains(slot)) {
            slotBefore[task] = owner[slot];
          }
          owner[slot] = task.microBatch;
        }
      }
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (const std::vector<Task> &tasks : schedule.ranks) {
        double now = 0;
        for (const Task &task : tasks) {
          if (!hasMicroBatch(task.kind)) {
            continue;
          }
          const bool forward = task.kind == F;
          const int from = forward ? task.stage - 1 : makesGradient(task.kind) ? task.stage + 1 : -1;
          double begin = std::max(now, taken(from, task.microBatch, forward));
          if (slotBefore.contains(task)) {
            begin = std::max(begin, taken(task.stage, *slotBefore[task], forward));
          }
          now = begin + (!isCompute(task.kind) ? 0 : task.kind == TaskKind::Backward ? 2 : 1);
          changed |= !end.contains(task) || end[task] != now;
          start[task] = begin;
          end[task] = now;
        }
      }
    }
  }

  double makespan() const {
    double last = 0;
    for (auto [task, time] : end) {
      last = std::max(last, time);
    }
    return last;
  }
  /// When the transfer of a stage's output (or input gradient) is over, 0 if it is not sent.
  double taken(int stage, int k, bool forward) const {
    const auto send = end.find({forward ? TaskKind::SendForward : TaskKind::SendBackward, stage, k});
    const auto receive = end.find({forward ? RF : RB, stage + (forward ? 1 : -1), k});
    return send == end.end() || receive == end.end() ? 0 : std::max(send->second, receive->second);
  }
};

/// Whether the values of micro-batches a and b need two slots, straight from the definition of Lifetime.
bool conflict(const Schedule &schedule, const Lifetime &lifetime, int a, int b, const UnitTimeRun *run) {
  int beginA = positionOf(schedule, {lifetime.first, lifetime.stage, a});
  int beginB = positionOf(schedule, {lifetime.first, lifetime.stage, b});
  if (beginA < 0 || beginB < 0) {
    return false;
  }
  if (beginA > beginB) {
    std::swap(a, b);
    std::swap(beginA, beginB);
  }
  int endA =
      hasMicroBatch(lifetime.last) ? positionOf(schedule, {lifetime.last, lifetime.stage, a}) : 1 << 30;
  const bool forward = lifetime.first == F || lifetime.first == RF;
  if (lifetime.sent) {
    endA = std::max(endA, positionOf(schedule, {forward ? TaskKind::SendForward : TaskKind::SendBackward,
                                                lifetime.stage, a}));
  }
  const Task &writer = listOf(schedule, lifetime.stage)[beginB];
  const bool inFlight =
      run && lifetime.sent && run->taken(lifetime.stage, a, forward) > run->start.at(writer);
  return endA > beginB || inFlight;
}

using Matrix = std::vector<std::vector<bool>>;
Matrix conflicts(const Schedule &schedule, const Lifetime &lifetime, const UnitTimeRun *run) {
  Matrix matrix(schedule.microBatches, std::vector<bool>(schedule.microBatches));
  for (int a = 0; a < schedule.microBatches; ++a) {
    for (int b = 0; b < a; ++b) {
      matrix[a][b] = matrix[b][a] = conflict(schedule, lifetime, a, b, run);
    }
  }
  return matrix;
}

bool isFree(const Matrix &conflicts, const std::vector<std::uint16_t> &slotOf) {
  for (std::size_t a = 0; a < slotOf.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      if (slotOf[a] == slotOf[b] && conflicts[a][b]) {
        return false;
      }
    }
  }
  return true;
}

/// The fewest slots, by trying all assignments.
int fewestSlots(const Matrix &conflicts) {
  std::vector<std::uint16_t> slotOf;
  for (int slots = 1;; ++slots) {
    auto fits = [&](auto &&self) -> bool {
      if (slotOf.size() == conflicts.size()) {
        return true;
      }
      slotOf.push_back(0);
      for (; slotOf.back() < slots; ++slotOf.back()) {
        if (isFree(conflicts, slotOf) && self(self)) {
          return true;
        }
      }
      slotOf.pop_back();
      return false;
    };
    if (fits(fits)) {
      return slots;
    }
  }
}

/// Posts each receive just before its consumer instead of as early as torch does, so that sends stay in
/// flight.
Schedule withLateReceives(const Schedule &schedule) {
  Schedule late = schedule;
  for (std::vector<Task> &tasks : late.ranks) {
    std::vector<Task> moved;
    for (const Task &task : tasks) {
      const bool consumer = task.kind == F || task.kind == I || task.kind == TaskKind::Backward;
      const Task receive{task.kind == F ? RF : RB, task.stage, task.microBatch};
      if (consumer && std::find(tasks.begin(), tasks.end(), receive) != tasks.end()) {
        moved.push_back(receive);
      }
      if (task.kind != RF && task.kind != RB) {
        moved.push_back(task);
      }
    }
    tasks = moved;
  }
  return late;
}

std::vector<Schedule> schedulesForSlots(int microBatches) {
  std::vector<Schedule> schedules;
  for (const std::string &kind : scheduleKinds()) {
    for (int p : {1, 2, 4}) {
      schedules.push_back(completeStep(kind, p, microBatches));
    }
  }
  for (const char *table :
       {"eager1f1b_p2_v1_m4", "zbh2_p2_v1_m4", "zbv_p2_v2_m4", "interleaved1f1b_p2_v2_m4"}) {
    schedules.push_back(
        addStepTasks(need(addTransfers(need(parseCsv(readGolden(std::string(table) + "_compute.csv")))))));
  }
  for (std::size_t i = schedules.size(); i-- > 0;) {
    schedules.push_back(withLateReceives(schedules[i]));
  }
  return schedules;
}

std::vector<Lifetime> lifetimesOf(int stage) {
  return {{stage, RF, W},
          {stage, RF, I},
          {stage, F, I},
          {stage, F, W},
          {stage, F, F, true},
          {stage, F, W, true},
          {stage, RB, I},
          {stage, RB, W},
          {stage, I, W},
          {stage, I, I, true},
          {stage, I, W, true},
          {stage, F, TaskKind::AllGather},
          {stage, F, TaskKind::Update},
          {stage, RF, F},
          {stage, RF, RF, true}};
}

} // namespace

TEST(Slots, FewestAndFreeOfConflicts) {
  int several = 0;
  for (int m : {1, 3, 5, 6}) {
    for (const Schedule &schedule : schedulesForSlots(m)) {
      const UnitTimeRun run(schedule);
      for (int stage = 0; stage < schedule.stages; ++stage) {
        for (const Lifetime &lifetime : lifetimesOf(stage)) {
          const SlotAssignment slots = assignSlots(schedule, lifetime);
          ASSERT_EQ(slots.slotOf.size(), static_cast<std::size_t>(schedule.microBatches));
          const Matrix needed = conflicts(schedule, lifetime, &run);
          EXPECT_EQ(slots.slots, fewestSlots(needed));
          EXPECT_TRUE(isFree(needed, slots.slotOf));
          EXPECT_EQ(slots.slots, 1 + *std::max_element(slots.slotOf.begin(), slots.slotOf.end()));
          EXPECT_TRUE(verifySlots(schedule, lifetime, slots));
          several += slots.slots > 1;
        }
      }
    }
  }
  EXPECT_GT(several, 500);
}

// verifySlots accepts exactly the assignments without a conflict in task order: all m^m of them for m = 4.
TEST(Slots, VerifierIsExact) {
  int accepted = 0, refused = 0;
  for (const Schedule &schedule : schedulesForSlots(4)) {
    for (const Lifetime &lifetime : lifetimesOf(schedule.stages / 2)) {
      const Matrix overwritten = conflicts(schedule, lifetime, nullptr);
      for (int code = 0; code < 256; ++code) {
        const SlotAssignment slots{
            4,
            {static_cast<std::uint16_t>(code & 3), static_cast<std::uint16_t>(code >> 2 & 3),
             static_cast<std::uint16_t>(code >> 4 & 3), static_cast<std::uint16_t>(code >> 6)}};
        const bool free = isFree(overwritten, slots.slotOf);
        ASSERT_EQ(static_cast<bool>(verifySlots(schedule, lifetime, slots)), free);
        ++(free ? accepted : refused);
      }
    }
  }
  EXPECT_GT(accepted, 10000);
  EXPECT_GT(refused, 10000);
}

TEST(Slots, PeaksOfThePapers) {
  for (int p = 2; p <= 8; ++p) {
    for (int m : {p, 2 * p, 20}) {
      for (int stage = 0; stage < p; ++stage) {
        const Lifetime activations{stage, F, W};
        EXPECT_EQ(assignSlots(completeStep("gpipe", p, m), activations).slots, m);
        EXPECT_EQ(assignSlots(completeStep("1f1b", p, m), activations).slots, std::min(m, p - stage));
        // p - r until I, and r more until W.
        EXPECT_EQ(assignSlots(completeStep("zb-h1", p, m), activations).slots, std::min(m, p));
        EXPECT_EQ(assignSlots(completeStep("zb-h1", p, m), {stage, F, I}).slots, std::min(m, p - stage));
      }
    }
  }
}

// A sleeping-task run that waits for a slot's last send before it writes the slot again has the closed-form
// makespan.
TEST(Slots, WaitingForSendsNeverDelays) {
  auto expectNoDelay = [](const Schedule &schedule, double makespan) {
    std::map<int, SlotAssignment> forward, backward;
    for (int stage = 0; stage < schedule.stages; ++stage) {
      forward[stage] = assignSlots(schedule, {stage, F, F, true});
      backward[stage] = assignSlots(schedule, {stage, I, I, true});
    }
    EXPECT_EQ(UnitTimeRun(schedule, forward, backward).makespan(), makespan) << schedule.kind;
  };
  for (int p = 1; p <= 6; ++p) {
    for (int m = 1; m <= 12; ++m) {
      expectNoDelay(completeStep("gpipe", p, m), 3 * (m + p - 1));
      expectNoDelay(completeStep("1f1b", p, m), 3 * (m + p - 1));
      expectNoDelay(completeStep("zb-h1", p, m), 3 * m + (p - 1) + std::max(0, p - m));
    }
  }
  for (const GoldenTable &table : goldenTables()) {
    const Schedule schedule = need(parseCsv(readGolden(table.stem() + "_comms.csv")));
    expectNoDelay(schedule, UnitTimeRun(schedule).makespan());
    const Schedule late = withLateReceives(schedule);
    expectNoDelay(late, UnitTimeRun(late).makespan());
  }
}

// Eager 1F1B runs far ahead; with receives posted late, rank 0 has several sends in flight and one slot would
// hold it up.
TEST(Slots, SendsInFlightNeedSlots) {
  const Schedule late = withLateReceives(need(parseCsv(readGolden("eager1f1b_p4_v1_m8_comms.csv"))));
  const Lifetime lifetime{0, F, F, true};
  const SlotAssignment slots = assignSlots(late, lifetime);
  EXPECT_GT(slots.slots, 1);
  const SlotAssignment one{1, std::vector<std::uint16_t>(8, 0)};
  EXPECT_TRUE(verifySlots(late, lifetime, one)) << "one slot is safe, only slow: the executor waits";
  const double ideal = UnitTimeRun(late).makespan();
  EXPECT_EQ(UnitTimeRun(late, {{0, slots}}).makespan(), ideal);
  EXPECT_GT(UnitTimeRun(late, {{0, one}}).start.at({F, 0, 6}), UnitTimeRun(late).start.at({F, 0, 6}));
}

TEST(Slots, EvaluationKeepsWhatItReads) {
  const Schedule evaluation = need(generateEvaluation(3, 4));
  // In an evaluation pass nothing comes after F: a value for W ends with its F, one that comes with a
  // gradient is not used.
  EXPECT_EQ(assignSlots(evaluation, {1, F, W}).slots, 1);
  EXPECT_EQ(assignSlots(evaluation, {1, RF, W}), (SlotAssignment{1, {0, 0, 0, 0}}));
  EXPECT_EQ(assignSlots(evaluation, {1, RB, W}), (SlotAssignment{1, {0, 0, 0, 0}}));
  EXPECT_EQ(assignSlots(evaluation, {2, F, TaskKind::AllGather}).slots, 4);
  Schedule ahead = evaluation; // both receives posted before the first forward: two values at once
  ahead.ranks[1] = need(parseTasks("1RECV_F0, 1RECV_F1, 1F0, 1SEND_F0, 1F1, 1SEND_F1, 1RECV_F2, 1F2, "
                                   "1SEND_F2, 1RECV_F3, 1F3, 1SEND_F3, ALL_GATHER"));
  EXPECT_EQ(assignSlots(ahead, {1, RF, W}).slots, 2);
  EXPECT_FALSE(verifySlots(ahead, {1, RF, W}, {1, {0, 0, 0, 0}}));
}

TEST(Slots, RefusesAMutatedAssignment) {
  const Schedule schedule = completeStep("1f1b", 3, 6);
  const Lifetime lifetime{0, F, W};
  const SlotAssignment good = assignSlots(schedule, lifetime);
  EXPECT_EQ(good, (SlotAssignment{3, {0, 1, 2, 0, 1, 2}}));
  EXPECT_TRUE(verifySlots(schedule, lifetime, good));
  SlotAssignment bad = good;
  bad.slotOf[4] = 0;
  const Result<void> refused = verifySlots(schedule, lifetime, bad);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().place, "rank 0, position 13 (0F4)") << refused.error().text();
  EXPECT_NE(refused.error().what.find("slot 0 while micro-batch 3"), std::string::npos)
      << refused.error().text();
  for (const SlotAssignment &wrong : {SlotAssignment{2, good.slotOf}, SlotAssignment{0, good.slotOf},
                                      SlotAssignment{-1, good.slotOf}, SlotAssignment{3, {0, 1, 2, 0, 1}},
                                      SlotAssignment{3, {0, 1, 2, 0, 1, 2, 0}}, SlotAssignment{3, {}}}) {
    EXPECT_FALSE(verifySlots(schedule, lifetime, wrong));
  }
  EXPECT_FALSE(verifySlots(schedule, {3, F, W}, good));
  EXPECT_FALSE(verifySlots(schedule, {-1, F, W}, good));
}

TEST(Slots, ManyMicroBatches) {
  const SlotAssignment slots = assignSlots(completeStep("gpipe", 2, 65535), {0, F, W});
  EXPECT_EQ(slots.slots, 65535);
  EXPECT_EQ(slots.slotOf.back(), 65534);
}
