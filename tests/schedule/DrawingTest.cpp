#include "Golden.h"

#include <algorithm>

using namespace stagewright;
using namespace stagewright::schedule;

namespace {

std::string drawKind(const char *kind, int stages, int microBatches, int width) {
  return "\n" + draw(need(simulate(completeStep(kind, stages, microBatches))), width, false);
}

} // namespace

TEST(Drawing, GPipe) {
  EXPECT_EQ(drawKind("gpipe", 4, 4, 110), R"(
rank 0  F0 F1 F2 F3                            B0--- B1--- B2--- B3---
rank 1     F0 F1 F2 F3                   B0--- B1--- B2--- B3---
rank 2        F0 F1 F2 F3          B0--- B1--- B2--- B3---
rank 3           F0 F1 F2 F3 B0--- B1--- B2--- B3---
)");
}

TEST(Drawing, OneForwardOneBackward) {
  EXPECT_EQ(drawKind("1f1b", 4, 4, 110), R"(
rank 0  F0 F1 F2 F3                   B0---    B1---    B2---    B3---
rank 1     F0 F1 F2             B0--- F3 B1---    B2---    B3---
rank 2        F0 F1       B0--- F2 B1--- F3 B2---    B3---
rank 3           F0 B0--- F1 B1--- F2 B2--- F3 B3---
)");
}

TEST(Drawing, ZeroBubbleH1) {
  EXPECT_EQ(drawKind("zb-h1", 4, 4, 110), R"(
rank 0  F0 F1 F2 F3          I0 W0 I1 W1 I2 W2 I3 W3
rank 1     F0 F1 F2       I0 F3 I1 W0 I2 W1 I3 W2 W3
rank 2        F0 F1    I0 F2 I1 F3 I2 W0 I3 W1 W2 W3
rank 3           F0 I0 F1 I1 F2 I2 F3 I3 W0 W1 W2 W3
)");
}

TEST(Drawing, Evaluation) {
  EXPECT_EQ("\n" + draw(need(simulate(need(generateEvaluation(2, 3)))), 80, false), R"(
rank 0  F0 F1 F2
rank 1     F0 F1 F2
)");
}

TEST(Drawing, SeveralStagesPerRankShowTheStage) {
  EXPECT_EQ("\n" + draw(need(simulate(need(parseCsv("0F0,3F0,3B0,0B0\n1F0,2F0,2B0,1B0\n")))), 80, false), R"(
rank 0  0F0         3F0 3B0----                 0B0----
rank 1      1F0 2F0             2B0---- 1B0----
)");
}

// Too wide: the beginning and the end stay, and no label is cut in two.
TEST(Drawing, EllipsisInTheMiddle) {
  EXPECT_EQ(drawKind("zb-h1", 4, 16, 60), R"(
rank 0  F0- F1- F2- F3-          ...    W13 I14 W14 I15 W15
rank 1      F0- F1- F2-          ...    I14 W13 I15 W14 W15
rank 2          F0- F1-     I0-  ...    W12 I15 W13 W14 W15
rank 3              F0- I0- F1-  ...    I15 W12 W13 W14 W15
)");
}

// Whatever the width: no row is wider, and what is left of it are whole cells of the full drawing.
TEST(Drawing, NeverWiderThanAsked) {
  const Timeline timeline = need(simulate(completeStep("1f1b", 11, 24)));
  const std::string full = draw(timeline, 10000, false);
  EXPECT_NE(full.find("rank 10  "), std::string::npos);
  EXPECT_NE(full.find("rank  0  "), std::string::npos);
  for (int width = -1; width < 400; ++width) {
    std::istringstream rows(draw(timeline, width, false)), fullRows(full);
    int count = 0;
    for (std::string row, fullRow; std::getline(rows, row) && std::getline(fullRows, fullRow); ++count) {
      EXPECT_LE(row.size(), static_cast<std::size_t>(std::max(width, 0)));
      EXPECT_TRUE(fullRow.starts_with(row.substr(0, 9)));
      std::istringstream cells(row.substr(std::min<std::size_t>(row.size(), 9)));
      for (std::string cell; width > 20 && cells >> cell;) {
        EXPECT_TRUE(cell == "..." || (fullRow + " ").find(" " + cell + " ") != std::string::npos) << row;
      }
    }
    EXPECT_EQ(count, 11);
  }
}

TEST(Drawing, LengthsFollowTheCosts) {
  const Costs costs{{1, 3}, {2, 2}, {1, 1}, 0};
  EXPECT_EQ("\n" + draw(need(simulate(need(generate("zb-h1", 2, 1)), costs)), 80, false), R"(
rank 0  F0                I0--- W0
rank 1     F0------ I0--- W0
)");
  // A task 1e12 times shorter than the others still has its place, and nothing explodes.
  const std::string uneven =
      draw(need(simulate(need(generate("zb-h1", 2, 2)), {{1, 1}, {1, 1}, {1e-12, 1}, 0})), 100, false);
  EXPECT_LT(uneven.size(), 203U);
  EXPECT_EQ(draw(need(simulate(need(generate("zb-h1", 2, 2)), {{0, 0}, {0, 0}, {0, 0}, 0})), 100, false), "");
  EXPECT_EQ(draw(Timeline{}, 100, false), "");
}

TEST(Drawing, Colours) {
  const Timeline timeline = need(simulate(completeStep("zb-h1", 3, 5)));
  const std::string plain = draw(timeline, 70, false);
  std::string coloured = draw(timeline, 70, true);
  EXPECT_NE(coloured.find("\x1b[97;44mF0"), std::string::npos);
  EXPECT_NE(coloured.find("\x1b[30;46mI0"), std::string::npos);
  EXPECT_NE(coloured.find("\x1b[30;42mW0"), std::string::npos);
  for (std::size_t at; (at = coloured.find('\x1b')) != std::string::npos;) {
    coloured.erase(at, coloured.find('m', at) - at + 1);
  }
  EXPECT_EQ(coloured, plain);
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  for (std::istringstream rows(draw(timeline, 70, true)); std::getline(rows, coloured);) {
    EXPECT_TRUE(coloured.ends_with("\x1b[0m")) << "a row leaves the terminal's colour as it was";
  }
}
