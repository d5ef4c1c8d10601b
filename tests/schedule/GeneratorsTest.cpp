#include "Golden.h"

#include <algorithm>

using namespace stagewright;
using namespace stagewright::schedule;

TEST(Generators, EqualThePublishedTables) {
  for (auto [kind, golden] : kGenerated) {
    for (auto [p, m] : {std::pair{2, 4}, std::pair{4, 8}}) {
      const Schedule schedule = need(generate(kind, p, m));
      EXPECT_EQ(printCsv(schedule), readGolden(GoldenTable{golden, p, 1, m}.stem() + "_compute.csv"));
      EXPECT_EQ(schedule.kind, kind);
      EXPECT_EQ(schedule.stages, p);
      EXPECT_EQ(schedule.microBatches, m);
    }
  }
}

// Rank 0 of 1F1B warms up with at most p - 1 forwards, and the orders known from the papers for m < p.
TEST(Generators, FewerMicroBatchesThanStages) {
  EXPECT_EQ(printTasks(need(generate("1f1b", 4, 2)).ranks[0]), "0F0, 0F1, 0B0, 0B1");
  EXPECT_EQ(printTasks(need(generate("1f1b", 4, 2)).ranks[3]), "3F0, 3B0, 3F1, 3B1");
  EXPECT_EQ(printTasks(need(generate("zb-h1", 4, 2)).ranks[3]), "3F0, 3I0, 3F1, 3I1, 3W0, 3W1");
  EXPECT_EQ(printTasks(need(generate("zb-h1", 4, 2)).ranks[1]), "1F0, 1F1, 1I0, 1I1, 1W0, 1W1");
  EXPECT_EQ(printTasks(need(generate("gpipe", 3, 1)).ranks[1]), "1F0, 1B0");
}

// F = forward, I = input gradient, W = weight gradient, p ranks, m micro-batches:
//   gpipe, 1f1b  (m + p - 1) (F + I + W)
//   zb-h1        m (F + I + W) + (p - 1) (F + I - W), while W <= I; with m < p there are p - m fewer W to
//   fill the bubble with
TEST(Generators, ClosedFormMakespans) {
  for (auto [f, i, w] : {std::array{1., 1., 1.}, std::array{2., 3., 1.}, std::array{5., 7., 4.}}) {
    for (int p = 1; p <= 8; ++p) {
      for (int m = 1; m <= 20; ++m) {
        const Costs costs{std::vector<double>(p, f), std::vector<double>(p, i), std::vector<double>(p, w)};
        for (const std::string &kind : scheduleKinds()) {
          const double expected = kind == "zb-h1"
                                      ? m * (f + i + w) + (p - 1) * (f + i - w) + std::max(0, p - m) * w
                                      : (m + p - 1) * (f + i + w);
          const Schedule compute = need(generate(kind, p, m));
          EXPECT_DOUBLE_EQ(need(simulate(compute, costs)).makespan, expected)
              << kind << " p=" << p << " m=" << m;
          const Schedule step = addStepTasks(need(addTransfers(compute)));
          EXPECT_DOUBLE_EQ(need(simulate(step, costs)).makespan, expected)
              << kind << " p=" << p << " m=" << m;
          const Result<void> proof = verify(step, Purpose::Training);
          EXPECT_TRUE(proof) << proof.error().text();
          EXPECT_TRUE(isPlanInvariant(step));
        }
      }
    }
  }
}

TEST(Generators, Evaluation) {
  const Schedule schedule = need(generateEvaluation(3, 2));
  EXPECT_EQ(printTasks(schedule.ranks[0]), "repeat 2 {0F0+, 0SEND_F0+}, ALL_GATHER");
  EXPECT_EQ(printTasks(schedule.ranks[1]), "repeat 2 {1RECV_F0+, 1F0+, 1SEND_F0+}, ALL_GATHER");
  EXPECT_EQ(printTasks(schedule.ranks[2]), "repeat 2 {2RECV_F0+, 2F0+}, ALL_GATHER");
  for (int p = 1; p <= 6; ++p) {
    for (int m = 1; m <= 9; ++m) {
      const Schedule evaluation = need(generateEvaluation(p, m));
      EXPECT_TRUE(verify(evaluation, Purpose::Evaluation));
      EXPECT_FALSE(verify(evaluation, Purpose::Training));
      EXPECT_EQ(need(simulate(evaluation)).makespan, m + p - 1);
    }
  }
}

TEST(Generators, UnknownKindOffersTheNearestName) {
  EXPECT_EQ(scheduleKinds(), (std::vector<std::string>{"gpipe", "1f1b", "zb-h1"}));
  for (auto [wrong, nearest] : {std::pair{"1f1", "1f1b"},
                                {"zbh1", "zb-h1"},
                                {"GPipe", "gpipe"},
                                {"g-pipe", "gpipe"},
                                {"zb-h2", "zb-h1"},
                                {"1F1B", "1f1b"}}) {
    const Result<Schedule> refused = generate(wrong, 2, 2);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::User);
    EXPECT_NE(refused.error().what.find(wrong), std::string::npos);
    EXPECT_NE(refused.error().advice.find("did you mean '" + std::string(nearest) + "'"), std::string::npos)
        << refused.error().text();
  }
  EXPECT_FALSE(generate("", 2, 2));
}

TEST(Generators, RefuseSizesOutOfRange) {
  for (auto [p, m] : {std::pair{0, 1},
                      {1, 0},
                      {-3, 4},
                      {4, -3},
                      {1, 65536},
                      {2000000000, 1},
                      {65536, 65},
                      {2000000000, 65535}}) {
    EXPECT_FALSE(generate("1f1b", p, m)) << p << " " << m;
    EXPECT_FALSE(generateEvaluation(p, m)) << p << " " << m;
  }
  EXPECT_TRUE(generate("gpipe", 1, 65535));
}

TEST(Generators, PlanInvarianceNeedsAscendingMicroBatches) {
  auto invariant = [](const char *csv) { return isPlanInvariant(need(parseCsv(csv))); };
  EXPECT_TRUE(invariant("0F0,0F1,0I0,0I1,0W0,0W1"));
  EXPECT_TRUE(invariant("0F0,1F0,0F1,1F1,1B0,1B1,0B0,0B1"));
  EXPECT_TRUE(invariant("0F0,0F1,0B0,0I1,0W1"));
  EXPECT_FALSE(invariant("0F1,0F0,0B0,0B1"));
  EXPECT_FALSE(invariant("0F0,0F1,0B1,0B0"));
  EXPECT_FALSE(invariant("0F0,0F1,0I1,0I0,0W0,0W1"));
  EXPECT_FALSE(invariant("0F0,0F1,0I0,0I1,0W1,0W0"));
  EXPECT_FALSE(invariant("0F0,0F1,0I1,0W1,0B0"));
  EXPECT_FALSE(invariant("0F0,0F1,0I0,0B1,0W0"));
  for (const GoldenTable &table : goldenTables()) { // the classic looped table descends in its backward
    EXPECT_EQ(isPlanInvariant(need(parseCsv(readGolden(table.stem() + "_compute.csv")))),
              table.kind != "loopedbfs");
  }
}
