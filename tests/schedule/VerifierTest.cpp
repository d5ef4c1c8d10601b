#include "Golden.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <functional>

using namespace stagewright;
using namespace stagewright::schedule;

namespace {

Schedule parse(std::vector<std::string> ranks, std::vector<int> rankOfStage, int microBatches) {
  Schedule schedule{"test", static_cast<int>(rankOfStage.size()), microBatches, std::move(rankOfStage), {}};
  for (const std::string &rank : ranks) {
    schedule.ranks.push_back(need(parseTasks(rank)));
  }
  return schedule;
}

void expectRefused(const Schedule &schedule, const std::string &place, const std::string &what,
                   Purpose purpose = Purpose::Training) {
  const Result<void> proof = verify(schedule, purpose);
  ASSERT_FALSE(proof) << place << ", " << what;
  EXPECT_EQ(proof.error().kind, ErrorKind::User);
  EXPECT_EQ(proof.error().place, place) << proof.error().text();
  EXPECT_NE(proof.error().what.find(what), std::string::npos) << proof.error().text();
}

/// Two ranks, one micro-batch; every line is where the tests below change something.
const std::vector<std::string> kSmall = {
    "0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE",
    "1PREPARE, 1RECV_F0, 1F0, 1B0, 1SEND_B0, 1NORM, ALL_GATHER, 1UPDATE"};

Schedule small(const std::string &rank0, const std::string &rank1 = kSmall[1]) {
  return parse({rank0, rank1}, {0, 1}, 1);
}

} // namespace

TEST(Verifier, AcceptsTheSmallSchedule) {
  const Result<void> proof = verify(small(kSmall[0]), Purpose::Training);
  EXPECT_TRUE(proof) << proof.error().text();
}

TEST(Verifier, Complete) {
  expectRefused(small("0PREPARE, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"), "rank 0",
                "0F0 is missing");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0NORM, ALL_GATHER, 0UPDATE"), "rank 0",
                "0W0 is missing");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"), "rank 0",
                "0I0 is missing");
  expectRefused(small("0PREPARE, 0F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"), "rank 0",
                "0SEND_F0 is missing");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"), "rank 0",
                "0RECV_B0 is missing");
  expectRefused(small("0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"), "rank 0",
                "0PREPARE is missing");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, ALL_GATHER, 0UPDATE"), "rank 0",
                "0NORM is missing");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, 0UPDATE"), "rank 0",
                "ALL_GATHER is missing");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER"), "rank 0",
                "0UPDATE is missing");
  expectRefused(small("0PREPARE, 0F0, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"),
                "rank 0, position 2 (0F0)", "twice");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0B0, 0NORM, ALL_GATHER, 0UPDATE"),
                "rank 0, position 6 (0B0)", "B stands for I and W");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, ALL_GATHER, 0UPDATE"),
                "rank 0, position 8 (ALL_GATHER)", "twice");
}

TEST(Verifier, NothingForeign) {
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0SEND_B0, 0NORM, ALL_GATHER, 0UPDATE"),
                "rank 0, position 6 (0SEND_B0)", "previous stage");
  expectRefused(small("0PREPARE, 0RECV_F0, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"),
                "rank 0, position 1 (0RECV_F0)", "previous stage");
  expectRefused(
      small(kSmall[0], "1PREPARE, 1RECV_F0, 1F0, 1SEND_F0, 1B0, 1SEND_B0, 1NORM, ALL_GATHER, 1UPDATE"),
      "rank 1, position 3 (1SEND_F0)", "next stage");
  expectRefused(
      small(kSmall[0], "1PREPARE, 1RECV_F0, 1F0, 1RECV_B0, 1B0, 1SEND_B0, 1NORM, ALL_GATHER, 1UPDATE"),
      "rank 1, position 3 (1RECV_B0)", "next stage");
  expectRefused(
      parse({"0PREPARE, 1PREPARE, 0F0, 0SEND_F0, 1F0, 1B0, 0B0, 0NORM, 1NORM, ALL_GATHER, 0UPDATE, 1UPDATE"},
            {0, 0}, 1),
      "rank 0, position 3 (0SEND_F0)", "next stage");
  expectRefused(small("0PREPARE, 1F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"),
                "rank 0, position 1 (1F0)", "stage 1 lies on rank 1");
}

TEST(Verifier, Ordered) {
  const std::string rank0 = "rank 0, position ";
  expectRefused(small("0PREPARE, 0RECV_B0, 0I0, 0F0, 0SEND_F0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"),
                rank0 + "2 (0I0)", "0F0");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0W0, 0I0, 0NORM, ALL_GATHER, 0UPDATE"),
                rank0 + "4 (0W0)", "0I0");
  expectRefused(small("0PREPARE, 0SEND_F0, 0F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"),
                rank0 + "1 (0SEND_F0)", "0F0");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0I0, 0RECV_B0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"),
                rank0 + "3 (0I0)", "0RECV_B0");
  expectRefused(small("0F0, 0PREPARE, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE"),
                rank0 + "0 (0F0)", "0PREPARE");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0NORM, 0W0, ALL_GATHER, 0UPDATE"),
                rank0 + "5 (0NORM)", "0W0");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, ALL_GATHER, 0NORM, 0UPDATE"),
                rank0 + "6 (ALL_GATHER)", "0NORM");
  expectRefused(small("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, 0UPDATE, ALL_GATHER"),
                rank0 + "7 (0UPDATE)", "ALL_GATHER");
  expectRefused(small(kSmall[0], "1RECV_F0, 1PREPARE, 1F0, 1B0, 1SEND_B0, 1NORM, ALL_GATHER, 1UPDATE"),
                "rank 1, position 0 (1RECV_F0)", "1PREPARE");
  expectRefused(small(kSmall[0], "1PREPARE, 1F0, 1RECV_F0, 1B0, 1SEND_B0, 1NORM, ALL_GATHER, 1UPDATE"),
                "rank 1, position 1 (1F0)", "1RECV_F0");
  expectRefused(small(kSmall[0], "1PREPARE, 1RECV_F0, 1F0, 1SEND_B0, 1B0, 1NORM, ALL_GATHER, 1UPDATE"),
                "rank 1, position 3 (1SEND_B0)", "1B0");
  // Two stages of one rank read from each other without a transfer.
  const std::string both = "0PREPARE, 1PREPARE, ", tail = ", 0NORM, 1NORM, ALL_GATHER, 0UPDATE, 1UPDATE";
  EXPECT_TRUE(verify(parse({both + "0F0, 1F0, 1I0, 0B0, 1W0" + tail}, {0, 0}, 1), Purpose::Training));
  expectRefused(parse({both + "1F0, 0F0, 1I0, 0B0, 1W0" + tail}, {0, 0}, 1), rank0 + "2 (1F0)", "0F0");
  expectRefused(parse({both + "0F0, 1F0, 0B0, 1I0, 1W0" + tail}, {0, 0}, 1), rank0 + "4 (0B0)", "1I0");
}

// Both ranks wait in a send for a receive that the other one posts later:
//
//   rank 0  ... SEND_F1 (waits for RECV_F1)   RECV_B0
//   rank 1  ... SEND_B0 (waits for RECV_B0)   RECV_F1
TEST(Verifier, SendsThatWaitForEachOther) {
  const Schedule crossed = parse(
      {"0PREPARE, 0F0, 0SEND_F0, 0F1, 0SEND_F1, 0RECV_B0, 0B0, 0RECV_B1, 0B1, 0NORM, ALL_GATHER, 0UPDATE",
       "1PREPARE, 1RECV_F0, 1F0, 1B0, 1SEND_B0, 1RECV_F1, 1F1, 1B1, 1SEND_B1, 1NORM, ALL_GATHER, 1UPDATE"},
      {0, 1}, 2);
  expectRefused(
      crossed, "rank 0, position 4 (0SEND_F1)",
      "rank 0 at 0SEND_F1 waits for 1RECV_F1 of rank 1; rank 1 at 1SEND_B0 waits for 0RECV_B0 of rank 0");
  EXPECT_TRUE(simulate(crossed)) << "with asynchronous sends it runs";
  Schedule mended = crossed;
  std::swap(mended.ranks[1][4], mended.ranks[1][5]); // RECV_F1 is posted before SEND_B0
  EXPECT_TRUE(verify(mended, Purpose::Training));
}

TEST(Verifier, ChannelsAreInOrder) {
  auto step = [](const char *transfers, const char *receives) {
    return parse({std::string("0PREPARE, 0F0, 0F1, ") + transfers + ", 0B0, 0B1, 0NORM, ALL_GATHER, 0UPDATE",
                  std::string("1PREPARE, ") + receives +
                      ", 1F0, 1F1, 1B0, 1B1, 1SEND_B0, 1SEND_B1, 1NORM, ALL_GATHER, 1UPDATE"},
                 {0, 1}, 2);
  };
  const char *ascending = "1RECV_F0, 1RECV_F1";
  EXPECT_TRUE(verify(step("0RECV_B0, 0RECV_B1, 0SEND_F0, 0SEND_F1", ascending), Purpose::Training));
  EXPECT_TRUE(
      verify(step("0RECV_B0, 0RECV_B1, 0SEND_F1, 0SEND_F0", "1RECV_F1, 1RECV_F0"), Purpose::Training));
  expectRefused(step("0RECV_B0, 0RECV_B1, 0SEND_F1, 0SEND_F0", ascending), "rank 0, position 5 (0SEND_F1)",
                "1RECV_F1 of rank 1");
  expectRefused(step("0RECV_B1, 0RECV_B0, 0SEND_F0, 0SEND_F1", ascending), "rank 0, position 3 (0RECV_B1)",
                "1SEND_B1 of rank 1");
}

// Stages 0 and 3 on rank 0, 1 and 2 on rank 1: rank 0 sends activations of stage 0 and gradients of stage 3
// to rank 1 in turn. They are two channels: rank 1 may post all receives of the one before those of the
// other.
TEST(Verifier, ForwardAndBackwardAreTwoChannels) {
  const Schedule schedule = addStepTasks(need(
      addTransfers(need(parseCsv("0F0,3F0,3B0,0F1,3F1,3B1,0B0,0B1\n1F0,2F0,1F1,2F1,2B0,1B0,2B1,1B1\n")))));
  ASSERT_EQ(schedule.rankOfStage, (std::vector<int>{0, 1, 1, 0}));
  for (const char *receives :
       {"1RECV_F0, 1RECV_F1, 2RECV_B0, 2RECV_B1", "2RECV_B0, 2RECV_B1, 1RECV_F0, 1RECV_F1"}) {
    Schedule grouped = schedule;
    std::vector<Task> &tasks = grouped.ranks[1];
    const auto removed = std::erase_if(tasks, [](const Task &task) {
      return task.kind == TaskKind::ReceiveForward || task.kind == TaskKind::ReceiveBackward;
    });
    const std::vector<Task> posted = need(parseTasks(receives));
    ASSERT_EQ(removed, posted.size());
    tasks.insert(tasks.begin() + 2, posted.begin(), posted.end());
    const Result<void> proof = verify(grouped, Purpose::Training);
    EXPECT_TRUE(proof) << proof.error().text();
  }
}

TEST(Verifier, Evaluation) {
  const Schedule good = need(generateEvaluation(2, 2));
  Schedule prepared = good; // packed weights may be made first
  prepared.ranks[0].insert(prepared.ranks[0].begin(), Task{TaskKind::Prepare, 0, -1});
  EXPECT_TRUE(verify(prepared, Purpose::Evaluation));
  std::swap(prepared.ranks[0][0], prepared.ranks[0][1]);
  expectRefused(prepared, "rank 0, position 0 (0F0)", "0PREPARE", Purpose::Evaluation);
  Schedule gathered = good;
  std::swap(gathered.ranks[1][4], gathered.ranks[1][3]);
  expectRefused(gathered, "rank 1, position 3 (ALL_GATHER)", "1F1", Purpose::Evaluation);
  Schedule backward = good;
  backward.ranks[1].insert(backward.ranks[1].begin() + 2, Task{TaskKind::Backward, 1, 0});
  expectRefused(backward, "rank 1, position 2 (1B0)", "forward tasks only", Purpose::Evaluation);
  expectRefused(completeStep("gpipe", 2, 2), "rank 0, position 5 (0RECV_B0)", "forward tasks only",
                Purpose::Evaluation);
  Schedule missing = good;
  missing.ranks[0].pop_back();
  expectRefused(missing, "rank 0", "ALL_GATHER is missing", Purpose::Evaluation);
}

// What a damaged or malicious file can hold: refused without reading or allocating anything out of
// proportion.
TEST(Verifier, HostileInput) {
  const Schedule good = completeStep("1f1b", 3, 4);
  const std::vector<std::function<void(Schedule &)>> damages = {
      [](Schedule &s) { s.ranks.clear(); },
      [](Schedule &s) { s.rankOfStage.clear(); },
      [](Schedule &s) { s.rankOfStage.push_back(0); },
      [](Schedule &s) { s.rankOfStage[1] = -1; },
      [](Schedule &s) { s.rankOfStage[1] = 3; },
      [](Schedule &s) { s.rankOfStage[1] = INT_MIN; },
      [](Schedule &s) {
        s.rankOfStage = {0, 2, 1};
      },
      [](Schedule &s) { s.stages = 0; },
      [](Schedule &s) { s.stages = -1; },
      [](Schedule &s) { s.stages = INT_MAX; },
      [](Schedule &s) { s.microBatches = 0; },
      [](Schedule &s) { s.microBatches = -4; },
      [](Schedule &s) { s.microBatches = INT_MAX; },
      [](Schedule &s) { // a table of all their tasks would take 2 TB
        s.stages = 1000000;
        s.rankOfStage.assign(1000000, 0);
        s.microBatches = 65535;
      },
      [](Schedule &s) { s.microBatches = 5; },
      [](Schedule &s) { s.microBatches = 3; },
      [](Schedule &s) { s.ranks[2].clear(); },
      [](Schedule &s) { s.ranks.emplace_back(); },
      [](Schedule &s) { s.ranks[0][1].stage = -1; },
      [](Schedule &s) { s.ranks[0][1].stage = 3; },
      [](Schedule &s) { s.ranks[0][1].stage = INT_MAX; },
      [](Schedule &s) { s.ranks[0][1].microBatch = -1; },
      [](Schedule &s) { s.ranks[0][1].microBatch = 4; },
      [](Schedule &s) { s.ranks[0][1].microBatch = INT_MAX; },
      [](Schedule &s) { s.ranks[0][1].microBatch = INT_MIN; },
      [](Schedule &s) { s.ranks[0][0].microBatch = 0; },                // PREPARE
      [](Schedule &s) { s.ranks[0][s.ranks[0].size() - 2].stage = 0; }, // ALL_GATHER
      [](Schedule &s) { s.ranks[0][s.ranks[0].size() - 2].microBatch = 0; },
      [](Schedule &s) { s.ranks[0][1].kind = static_cast<TaskKind>(12); },
      [](Schedule &s) { s.ranks[0][1].kind = static_cast<TaskKind>(255); },
  };
  for (std::size_t i = 0; i < damages.size(); ++i) {
    Schedule bad = good;
    damages[i](bad);
    for (Purpose purpose : {Purpose::Training, Purpose::Evaluation}) {
      const Result<void> proof = verify(bad, purpose);
      EXPECT_FALSE(proof) << "damage " << i;
    }
    (void)simulate(bad);
    (void)addTransfers(bad);
    (void)isPlanInvariant(bad);
    (void)printCsv(bad);
    (void)addStepTasks(bad);
    for (int stage : {-1, 0, 1, 2, 3, INT_MAX, INT_MIN}) {
      const Lifetime lifetime{stage, TaskKind::Forward, TaskKind::BackwardWeight, true};
      for (const SlotAssignment &slots :
           {SlotAssignment{4, {0, 1, 2, 3}}, SlotAssignment{INT_MAX, {0, 1, 2, 65535}},
            SlotAssignment{-1, {0, 0, 0, 0}}, SlotAssignment{0, {}}}) {
        (void)verifySlots(bad, lifetime, slots);
      }
    }
  }
}

TEST(Verifier, LinearTime) {
  std::vector<Schedule> schedules;
  for (const std::string &kind : scheduleKinds()) {
    schedules.push_back(completeStep(kind, 16, 128));
    schedules.push_back(completeStep(kind, 4, 4096));
  }
  const auto start = std::chrono::steady_clock::now();
  for (const Schedule &schedule : schedules) {
    EXPECT_TRUE(verify(schedule, Purpose::Training));
  }
  // Half a million tasks; 20 ms measured. A quadratic rule would take minutes.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

// ---- Tied parameters
// ------------------------------------------------------------------------------------------

namespace {

const std::vector<std::string> kTied = {
    "0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0RECV_SUM1, 0NORM, ALL_GATHER, 0UPDATE, 0SEND_WEIGHT1",
    "1PREPARE, 1RECV_F0, 1F0, 1B0, 1SEND_B0, 1SEND_SUM0, 1NORM, ALL_GATHER, 1RECV_WEIGHT0, 1UPDATE"};

Schedule tied(const std::string &rank0, const std::string &rank1 = kTied[1]) {
  return parse({rank0, rank1}, {0, 1}, 1);
}

} // namespace

TEST(VerifierTied, GeneratedListsAreProved) {
  const std::vector<Tie> ties = {{0, 1}, {0, 3}, {1, 3}};
  for (const std::string &kind : scheduleKinds()) {
    const Schedule schedule = addStepTasks(need(addTransfers(need(generate(kind, 4, 6)), {ties})), {ties});
    const Result<void> proof = verify(schedule, Purpose::Training);
    EXPECT_TRUE(proof) << kind << ": " << proof.error().text();
    EXPECT_EQ(exchangesOf(schedule), StepExchanges{ties});
  }
}

// The last stage has its sums when its last W is done, long before stage 0 is through with its own: the
// receive is posted while stage 0 still computes.
TEST(VerifierTied, SumsTravelUnderTheBackwardPass) {
  const std::vector<Tie> ties = {{0, 3}};
  const Schedule schedule = addStepTasks(need(addTransfers(need(generate("1f1b", 4, 8)), {ties})), {ties});
  const std::vector<Task> &first = schedule.ranks[0];
  const auto receive = std::find(first.begin(), first.end(), Task{TaskKind::ReceiveSum, 0, 3});
  const auto last = std::find(first.begin(), first.end(), Task{TaskKind::Backward, 0, 7});
  ASSERT_NE(receive, first.end());
  ASSERT_NE(last, first.end());
  EXPECT_LT(receive, last);
}

TEST(VerifierTied, Refusals) {
  EXPECT_TRUE(verify(tied(kTied[0]), Purpose::Training));
  expectRefused(
      tied("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, ALL_GATHER, 0UPDATE, 0SEND_WEIGHT1"),
      "rank 0", "0RECV_SUM1 is missing");
  expectRefused(tied("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0RECV_SUM1, 0NORM, ALL_GATHER, 0UPDATE"),
                "rank 0", "0SEND_WEIGHT1 is missing");
  expectRefused(tied("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0NORM, 0RECV_SUM1, ALL_GATHER, 0UPDATE, "
                     "0SEND_WEIGHT1"),
                "rank 0, position 6 (0NORM)", "before 0RECV_SUM1");
  expectRefused(tied("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0RECV_SUM1, 0NORM, ALL_GATHER, "
                     "0SEND_WEIGHT1, 0UPDATE"),
                "rank 0, position 9 (0SEND_WEIGHT1)", "before 0UPDATE");
  expectRefused(tied(kTied[0], "1PREPARE, 1RECV_F0, 1F0, 1SEND_SUM0, 1B0, 1SEND_B0, 1NORM, ALL_GATHER, "
                               "1RECV_WEIGHT0, 1UPDATE"),
                "rank 1, position 3 (1SEND_SUM0)", "before 1B0");
  expectRefused(tied(kTied[0], "1PREPARE, 1RECV_F0, 1F0, 1B0, 1SEND_B0, 1SEND_SUM0, 1NORM, 1RECV_WEIGHT0, "
                               "ALL_GATHER, 1UPDATE"),
                "rank 1, position 7 (1RECV_WEIGHT0)", "before ALL_GATHER");
  expectRefused(tied("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0SEND_SUM1, 0NORM, ALL_GATHER, 0UPDATE"),
                "rank 0, position 6 (0SEND_SUM1)", "earlier of its stages");
  expectRefused(tied("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0RECV_SUM2, 0NORM, ALL_GATHER, 0UPDATE"),
                "rank 0, position 6 (0RECV_SUM2)", "stage out of range");
}

// With blocking sends, a rank that sends its sum before the gradient that the owner waits for stands still.
TEST(VerifierTied, Deadlock) {
  expectRefused(
      tied("0PREPARE, 0F0, 0SEND_F0, 0RECV_B0, 0I0, 0W0, 0RECV_SUM1, 0NORM, ALL_GATHER, 0UPDATE, "
           "0SEND_WEIGHT1",
           "1PREPARE, 1RECV_F0, 1F0, 1B0, 1SEND_SUM0, 1SEND_B0, 1NORM, ALL_GATHER, 1RECV_WEIGHT0, 1UPDATE"),
      "rank 0, position 4 (0I0)", "deadlock");
}
