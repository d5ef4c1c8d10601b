#include "Golden.h"

using namespace stagewright;
using namespace stagewright::schedule;

TEST(Csv, PublishedTablesRoundTrip) {
  for (const GoldenTable &table : goldenTables()) {
    for (const char *level : {"_compute.csv", "_comms.csv"}) {
      const std::string csv = readGolden(table.stem() + level);
      const Schedule schedule = need(parseCsv(csv));
      EXPECT_EQ(printCsv(schedule), csv);
      EXPECT_EQ(schedule.kind, "csv");
      EXPECT_EQ(schedule.rankCount(), table.p);
      EXPECT_EQ(schedule.stages, table.p * table.v);
      EXPECT_EQ(schedule.microBatches, table.m);
      for (int stage = 0; stage < schedule.stages; ++stage) {
        const int turned =
            table.kind == "zbv" && stage >= table.p ? 2 * table.p - 1 - stage : stage % table.p;
        EXPECT_EQ(schedule.rankOfStage[stage], turned);
      }
    }
  }
}

TEST(Csv, GeneratedSchedulesRoundTrip) {
  for (const std::string &kind : scheduleKinds()) {
    for (int p = 1; p <= 5; ++p) {
      for (int m = 1; m <= 7; ++m) {
        for (Schedule schedule :
             {need(generate(kind, p, m)), need(addTransfers(need(generate(kind, p, m))))}) {
          EXPECT_EQ(printCsv(addStepTasks(schedule)), printCsv(schedule));
          schedule.kind = "csv";
          EXPECT_EQ(need(parseCsv(printCsv(schedule))), schedule);
        }
      }
    }
  }
}

TEST(Csv, IdleSlotsBlanksAndLineEnds) {
  const Schedule plain = need(parseCsv("0F0,0B0\n1F0,1B0\n"));
  EXPECT_EQ(need(parseCsv("0F0,,, 0B0 ,\r\n,1F0,1B0\r\n\r\n")), plain);
  EXPECT_EQ(need(parseCsv("0F0,0B0\n1F0,1B0")), plain);
}

TEST(Csv, RefusesWithThePlace) {
  struct Case {
    const char *csv, *place, *what;
  };
  for (const Case &wrong : {Case{"", "", "no rows"}, Case{"\n\n", "", "no rows"},
                            Case{"0F0,0B0\n\n1F0,1B0\n", "row 2", "no tasks"},
                            Case{"0F0,,0X0\n", "row 1, cell 3", "'0X0' is not a task"},
                            Case{"0F0,0B0\n1F0,0B1\n", "row 2", "stage 0 is also in row 1"},
                            Case{"0F0,0B0\n2F0,2B0\n", "", "stage 1 is in no row"},
                            Case{"2147483647F0\n", "", "stage 0 is in no row"},
                            Case{"0PREPARE,0F0,0B0\n", "row 1, cell 1", "not 0PREPARE"},
                            Case{"0F0,ALL_GATHER\n", "row 1, cell 2", "not ALL_GATHER"},
                            Case{"0F0,0REDUCE_GRAD\n", "row 1, cell 2", "is not a task"},
                            Case{"0F2147483647\n", "row 1", "more than 65535 micro-batches"}}) {
    const Result<Schedule> refused = parseCsv(wrong.csv);
    ASSERT_FALSE(refused) << wrong.csv;
    EXPECT_EQ(refused.error().kind, ErrorKind::User);
    EXPECT_EQ(refused.error().place, wrong.place) << refused.error().text();
    EXPECT_NE(refused.error().what.find(wrong.what), std::string::npos) << refused.error().text();
  }
  const Result<Schedule> overlapped = parseCsv(readGolden("dualpipev_p2_v2_m4_compute.csv"));
  ASSERT_FALSE(overlapped);
  EXPECT_EQ(overlapped.error().text(),
            "row 1, cell 8: overlapped tasks are not supported; write the two tasks into two cells");
}
