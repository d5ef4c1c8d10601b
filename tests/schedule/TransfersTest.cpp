#include "Golden.h"

using namespace stagewright;
using namespace stagewright::schedule;

TEST(Transfers, EqualThePublishedTables) {
  for (const GoldenTable &table : goldenTables()) {
    const Schedule compute = need(parseCsv(readGolden(table.stem() + "_compute.csv")));
    EXPECT_EQ(compute.stages, table.p * table.v);
    EXPECT_EQ(compute.microBatches, table.m);
    const Schedule schedule = need(addTransfers(compute));
    EXPECT_EQ(printCsv(schedule), readGolden(table.stem() + "_comms.csv")) << table.stem();
    const Result<void> proof = verify(addStepTasks(schedule), Purpose::Training);
    EXPECT_TRUE(proof) << table.stem() << ": " << proof.error().text();
  }
  for (auto [kind, golden] : kGenerated) {
    for (auto [p, m] : {std::pair{2, 4}, std::pair{4, 8}}) {
      EXPECT_EQ(printCsv(completeStep(kind, p, m)),
                readGolden(GoldenTable{golden, p, 1, m}.stem() + "_comms.csv"));
    }
  }
}

TEST(Transfers, OneStageAndStagesThatShareARankExchangeNothing) {
  const Schedule one = need(generate("1f1b", 1, 3));
  EXPECT_EQ(need(addTransfers(one)), one);
  const Schedule shared = need(parseCsv("0F0,1F0,1B0,0B0"));
  EXPECT_EQ(need(addTransfers(shared)), shared);
}

TEST(Transfers, RefusesACircle) {
  // Rank 0 wants the gradient of micro-batch 1 first, rank 1 makes that of micro-batch 0 first and then waits
  // for F1.
  const Result<Schedule> circle = addTransfers(need(parseCsv("0F0,0B0,0F1,0B1\n1F1,1B1,1F0,1B0\n")));
  ASSERT_FALSE(circle);
  EXPECT_EQ(circle.error().place, "rank 0, position 1 (0B0)");
  EXPECT_NE(circle.error().what.find("waits for 1B0 of rank 1"), std::string::npos) << circle.error().text();

  const Result<Schedule> missing = addTransfers(need(parseCsv("0F0,0B0,0F1\n1F0,1F1\n")));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().place, "rank 0, position 1 (0B0)");
}

TEST(Transfers, RefusesWhatIsNotAComputeSchedule) {
  const Schedule compute = need(generate("1f1b", 2, 2));
  EXPECT_FALSE(addTransfers(need(addTransfers(compute))));
  EXPECT_FALSE(addTransfers(addStepTasks(compute)));
  EXPECT_FALSE(addTransfers(Schedule{}));
  Schedule wrong = compute;
  wrong.rankOfStage = {0};
  EXPECT_FALSE(addTransfers(wrong));
  wrong = compute;
  wrong.ranks[0][1].stage = 7;
  EXPECT_FALSE(addTransfers(wrong));
}

TEST(Transfers, StepTasksAreAroundEachRank) {
  Schedule schedule = need(parseCsv("0F0,3F0,3B0,0B0\n1F0,2F0,2B0,1B0\n"));
  schedule = addStepTasks(need(addTransfers(schedule)));
  EXPECT_EQ(printTasks(schedule.ranks[0]),
            "0PREPARE, 3PREPARE, 0F0, 0SEND_F0, 3RECV_F0, 3F0, 3B0, 3SEND_B0, 0RECV_B0, 0B0, "
            "0NORM, 3NORM, ALL_GATHER, 0UPDATE, 3UPDATE");
  EXPECT_TRUE(verify(schedule, Purpose::Training));
}
