// Softmax, embedding, rotary and the normalisations at their edges: special values, ids that are no rows,
// micro-batches one by one.
#include "KernelCases.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace stagewright::kernels {

namespace {

using catalogue::Shape;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(),
                 kInf = std::numeric_limits<double>::infinity();

class Rows : public testing::TestWithParam<Isa> {
protected:
  Rows() { setFlushToZero(); }
  std::vector<Buffer> run(const KernelCase &one) { return runCase(one, GetParam(), serial); }
  SerialTileRunner serial;
};

INSTANTIATE_TEST_SUITE_P(Every, Rows, testing::ValuesIn(supportedIsas()),
                         [](const auto &info) { return std::string(name(info.param)); });

TEST_P(Rows, SoftmaxOfExtremeRows) {
  const auto y = run(caseOf("softmax", {{5, 3}, {5, 3}},
                            {{kNaN, 0, 0, kInf, 0, 0, -kInf, -kInf, -kInf, -kInf, 5, 5, 1e30, -1e30, 0}}))[1];
  for (std::int64_t i = 0; i < 9; ++i)
    EXPECT_TRUE(std::isnan(y.at(i))) << i; // as in PyTorch
  const std::vector<double> values = y.values();
  EXPECT_EQ(std::vector<double>(values.begin() + 9, values.end()),
            (std::vector<double>{0, 0.5, 0.5, 1, 0, 0}));
}

TEST_P(Rows, AnIdThatIsNoRowGivesNaN) {
  const std::vector<double> ids = {1, -1, 0, 2, 2147483647, -2147483648.0};
  const auto y = run(caseOf("embedding", {{6}, {2, 3}, {6, 3}}, {ids, {1, 2, 3, 4, 5, 6}}))[2];
  for (std::int64_t i = 0; i < 18; ++i)
    EXPECT_EQ(std::isnan(y.at(i)), i / 3 != 0 && i / 3 != 2) << i;
  const auto acc = run(caseOf("embedding_grad", {{6}, {6, 1}, {2, 1}}, {ids, {1, 2, 4, 8, 16, 32}}))[2];
  EXPECT_EQ(acc.values(), (std::vector<double>{4, 1}));
}

/// Rows one half after the other give the bits of one call on all of them.
TEST_P(Rows, GradientsOfWeightsDoNotDependOnMicroBatches) {
  for (const char *kernel : {"layer_norm_weight_grad", "rms_norm_weight_grad", "embedding_grad"})
    for (const KernelCase &whole : casesOf(kernel)) {
      const std::int64_t rows = whole.instance.shapes[0][0], first = (rows + 2) / 3;
      if (rows == 1)
        continue;
      const std::size_t last = std::size_t(
          std::ranges::find(whole.instance.kernel->operands, "acc", &catalogue::OperandRule::name) -
          whole.instance.kernel->operands.begin());
      Buffer acc = whole.operands[last];
      for (const auto &[begin, end] : {std::pair{std::int64_t(0), first}, {first, rows}}) {
        KernelCase part{
            {whole.instance.kernel, whole.instance.shapes, whole.instance.attributes, whole.instance.element},
            {},
            0,
            0};
        for (std::size_t i = 0; i < last; ++i) {
          Shape &shape = part.instance.shapes[i];
          const std::int64_t width = whole.operands[i].elements / rows;
          shape[0] = end - begin;
          part.operands.emplace_back(whole.operands[i].dtype, shape[0] * width);
          for (std::int64_t k = 0; k < shape[0] * width; ++k)
            part.operands[i].set(k, whole.operands[i].at(begin * width + k));
        }
        part.operands.push_back(acc);
        part.operands.insert(part.operands.end(), whole.operands.begin() + long(last) + 1,
                             whole.operands.end());
        acc = run(part)[last];
      }
      EXPECT_TRUE(acc.sameBits(run(whole)[last])) << whole.text();
    }
}

TEST(RowTiles, LargeCallsAreSpreadAndSmallOnesAreNot) {
  const auto tilesOf = [](const char *kernel, std::vector<Shape> shapes) {
    SerialTileRunner runner;
    runCase(caseOf(kernel, std::move(shapes), {}), bestIsa(), runner);
    return runner.mostTiles;
  };
  EXPECT_GE(tilesOf("layer_norm", {{128, 768}, {128, 768}, {128}, {128}}), 6);
  EXPECT_EQ(tilesOf("layer_norm", {{32, 768}, {32, 768}, {32}, {32}}), 1);
  EXPECT_GE(tilesOf("layer_norm_weight_grad", {{128, 768}, {128, 768}, {128}, {128}, {768}}), 6);
  EXPECT_GE(tilesOf("rms_norm_grad", {{128, 768}, {128, 768}, {128}, {128, 768}}), 6);
  EXPECT_GE(tilesOf("softmax", {{128, 768}, {128, 768}}), 6);
  EXPECT_GE(tilesOf("embedding", {{128}, {10, 768}, {128, 768}}), 6);
  EXPECT_GE(tilesOf("embedding_grad", {{128}, {128, 768}, {10, 768}}), 6);
  EXPECT_GE(tilesOf("rotary", {{1, 128, 12, 64}, {128, 64}, {1, 128, 12, 64}}), 6);
  EXPECT_GE(tilesOf("dropout", {{128, 768}, {4}, {128, 768}}), 6);
}

TEST(Rotary, RefusesWhatHasNoPairs) {
  const auto refused = [](const char *kernel, std::vector<Shape> shapes, double base = 10000) {
    std::vector<catalogue::Attribute> attributes;
    if (shapes.size() == 1)
      attributes.push_back({"base", base});
    const auto prepared = prepare({catalogue::find(kernel, 1), std::move(shapes), attributes}, bestIsa());
    return !prepared && prepared.error().kind == ErrorKind::User;
  };
  EXPECT_TRUE(refused("rotary_table", {{4, 3}}));
  EXPECT_TRUE(refused("rotary_table", {{4, 4}}, 0));
  EXPECT_TRUE(refused("rotary_table", {{4, 4}}, kInf));
  EXPECT_FALSE(refused("rotary_table", {{4, 4}}, 500000));
  EXPECT_TRUE(refused("rotary", {{1, 4, 2, 3}, {4, 3}, {1, 4, 2, 3}}));
  EXPECT_FALSE(refused("rotary", {{1, 4, 2, 6}, {4, 6}, {1, 4, 2, 6}}));
}

} // namespace

} // namespace stagewright::kernels
