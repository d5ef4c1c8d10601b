#include "Golden.h"

#include <cmath>
#include <map>

using namespace stagewright;
using namespace stagewright::schedule;

namespace {

/// metrics_unit_time.csv: "kind_pP_vV_mM" -> row of fields by name.
std::map<std::string, std::map<std::string, std::string>> goldenMetrics() {
  std::istringstream file(readGolden("metrics_unit_time.csv"));
  std::map<std::string, std::map<std::string, std::string>> metrics;
  std::vector<std::string> names;
  for (std::string line, field; std::getline(file, line);) {
    std::vector<std::string> fields;
    for (std::istringstream cells(line); std::getline(cells, field, ',');) {
      fields.push_back(field);
    }
    if (names.empty()) {
      names = fields;
      continue;
    }
    std::map<std::string, std::string> row;
    for (std::size_t i = 0; i < names.size(); ++i) {
      row[names[i]] = fields.at(i);
    }
    metrics[row["name"] + "_p" + row["p"] + "_v" + row["v"] + "_m" + row["m"]] = row;
  }
  return metrics;
}

/// The row counts a rank's work per micro-batch as 1, whatever its stages are: ours is v times that.
void expectMetrics(const Schedule &schedule, const GoldenTable &table) {
  SCOPED_TRACE(table.stem());
  auto row = goldenMetrics()[table.stem()];
  ASSERT_FALSE(row.empty());
  const Timeline timeline = need(simulate(schedule));
  EXPECT_DOUBLE_EQ(timeline.makespan / table.v, std::stod(row["makespan_units"]));
  EXPECT_NEAR(timeline.bubbleFraction(), std::stod(row["bubble_over_makespan"]), 5e-5);
  std::istringstream peaks(row["peak_per_rank"]);
  for (int rank = 0; rank < table.p; ++rank) {
    double peak = -1;
    peaks >> peak;
    EXPECT_DOUBLE_EQ(static_cast<double>(timeline.peakInFlight[rank]) / table.v, peak) << "rank " << rank;
    EXPECT_DOUBLE_EQ((timeline.makespan - timeline.busy[rank]) / table.v, std::stod(row["idle"]));
  }
  std::size_t actions = 0;
  for (const std::vector<TimedTask> &tasks : timeline.ranks) {
    actions += tasks.size();
  }
  EXPECT_EQ(actions, std::stoul(row["actions"]));
}

} // namespace

TEST(Simulator, ReproducesTheReferenceForGeneratedSchedules) {
  for (auto [kind, golden] : kGenerated) {
    for (auto [p, m] : {std::pair{2, 4}, {2, 8}, {4, 8}, {4, 16}, {8, 32}}) {
      const Schedule compute = need(generate(kind, p, m));
      expectMetrics(compute, {golden, p, 1, m});
      expectMetrics(addStepTasks(need(addTransfers(compute))), {golden, p, 1, m});
    }
  }
}

TEST(Simulator, ReproducesTheReferenceForPublishedTables) {
  for (const GoldenTable &table : goldenTables()) {
    const Schedule compute = need(parseCsv(readGolden(table.stem() + "_compute.csv")));
    expectMetrics(compute, table);
    expectMetrics(need(addTransfers(compute)), table);
  }
}

// Idle time with a one-way latency c, p = 4: the reference figures for F = I = W = 1.
TEST(Simulator, Latency) {
  struct Row {
    const char *kind;
    int m;
    double latency, idle;
  };
  for (const Row &row : {Row{"1f1b", 16, .1, 11.8},
                         {"1f1b", 32, .1, 14.2},
                         {"1f1b", 16, .25, 16},
                         {"1f1b", 32, .25, 22},
                         {"1f1b", 16, .5, 23},
                         {"1f1b", 32, .5, 35},
                         {"1f1b", 16, 1, 37},
                         {"1f1b", 32, 1, 61},
                         {"zb-h1", 16, .1, 4.2},
                         {"zb-h1", 32, .1, 4.2},
                         {"zb-h1", 16, .25, 6},
                         {"zb-h1", 16, .5, 9},
                         {"zb-h1", 16, 1, 23},
                         {"zb-h1", 32, 1, 35},
                         {"gpipe", 16, .1, 9.6}}) {
    Costs costs;
    costs.latency = row.latency;
    const Schedule compute = need(generate(row.kind, 4, row.m));
    EXPECT_NEAR(need(simulate(compute, costs)).makespan, 3 * row.m + row.idle, 1e-9)
        << row.kind << " " << row.latency;
    EXPECT_NEAR(need(simulate(need(addTransfers(compute)), costs)).makespan, 3 * row.m + row.idle, 1e-9);
  }
}

TEST(Simulator, TimesOfASmallPipeline) {
  //  rank 0  F0(2) F1(2)              B0(3+1)         B1(3+1)
  //  rank 1        F0(1) .. F1 ...
  const Costs costs{{2, 1}, {3, 4}, {1, 2}, 0.5};
  const Timeline timeline = need(simulate(completeStep("1f1b", 2, 2), costs));
  ASSERT_EQ(timeline.ranks[1].size(), 4U);
  const std::vector<std::pair<double, double>> rank1 = {{2.5, 3.5}, {3.5, 9.5}, {9.5, 10.5}, {10.5, 16.5}};
  const std::vector<std::pair<double, double>> rank0 = {{0, 2}, {2, 4}, {10, 14}, {17, 21}};
  for (int i = 0; i < 4; ++i) {
    EXPECT_DOUBLE_EQ(timeline.ranks[0][i].start, rank0[i].first);
    EXPECT_DOUBLE_EQ(timeline.ranks[0][i].end, rank0[i].second);
    EXPECT_DOUBLE_EQ(timeline.ranks[1][i].start, rank1[i].first);
    EXPECT_DOUBLE_EQ(timeline.ranks[1][i].end, rank1[i].second);
  }
  EXPECT_DOUBLE_EQ(timeline.makespan, 21);
  EXPECT_EQ(timeline.busy, (std::vector<double>{12, 14}));
  EXPECT_EQ(timeline.peakInFlight, (std::vector<int>{2, 1}));
  EXPECT_DOUBLE_EQ(timeline.bubbleFraction(), 1 - 13. / 21);
  EXPECT_EQ(timeline.ranks[0][2].task, (Task{TaskKind::Backward, 0, 0}));
}

TEST(Simulator, EvaluationHoldsOneMicroBatch) {
  const Timeline timeline = need(simulate(need(generateEvaluation(3, 5))));
  EXPECT_EQ(timeline.peakInFlight, (std::vector<int>{1, 1, 1}));
}

TEST(Simulator, PeakAfterAValley) {
  EXPECT_EQ(need(simulate(need(parseCsv("0F0,0B0,0F1,0F2,0I1,0F3,0B2,0B3,0W1")))).peakInFlight,
            (std::vector<int>{2}));
  EXPECT_EQ(need(simulate(need(parseCsv("0F0,1F0,1B0,0B0,0F1,1F1,1B1,0B1")))).peakInFlight,
            (std::vector<int>{2}));
}

TEST(Simulator, RefusesWhatCannotFinish) {
  const Schedule good = completeStep("zb-h1", 3, 4);
  EXPECT_TRUE(simulate(good));
  int refused = 0;
  for (int rank = 0; rank < 3;
       ++rank) { // without any one of the transfers, or with a consumer in front of its input
    for (std::size_t i = 0; i < good.ranks[rank].size(); ++i) {
      if (isTransfer(good.ranks[rank][i].kind)) {
        Schedule bad = good;
        bad.ranks[rank].erase(bad.ranks[rank].begin() + static_cast<std::ptrdiff_t>(i));
        EXPECT_FALSE(simulate(bad)) << text(good.ranks[rank][i]);
        ++refused;
      }
    }
  }
  EXPECT_EQ(refused, 2 * 2 * 2 * 4);
  EXPECT_FALSE(simulate(need(parseCsv("0B0,0F0"))));
  EXPECT_FALSE(simulate(need(parseCsv("0F0,0W0,0I0"))));
  EXPECT_FALSE(simulate(need(parseCsv("1F0,0F0,1B0,0B0"))));
  EXPECT_FALSE(simulate(need(parseCsv("0F0,0B0,0F1,0B1\n1F1,1B1,1F0,1B0\n"))));
  EXPECT_FALSE(simulate(Schedule{}));
  Schedule gather = good;
  std::erase(gather.ranks[1], Task{TaskKind::AllGather, -1, -1});
  EXPECT_FALSE(simulate(gather));
}

TEST(Simulator, RefusesCostsThatAreNotTimes) {
  const Schedule schedule = need(generate("gpipe", 2, 2));
  EXPECT_TRUE(simulate(schedule, {{1, 2}, {}, {}, 0}));
  EXPECT_FALSE(simulate(schedule, {{1}, {}, {}, 0}));
  EXPECT_FALSE(simulate(schedule, {{}, {1, 2, 3}, {}, 0}));
  EXPECT_FALSE(simulate(schedule, {{}, {}, {1, -1}, 0}));
  EXPECT_FALSE(simulate(schedule, {{NAN, 1}, {}, {}, 0}));
  EXPECT_FALSE(simulate(schedule, {{}, {}, {}, -1}));
  EXPECT_FALSE(simulate(schedule, {{}, {}, {}, INFINITY}));
  EXPECT_EQ(need(simulate(schedule, {{0, 0}, {0, 0}, {0, 0}, 0})).bubbleFraction(), 0);
}
