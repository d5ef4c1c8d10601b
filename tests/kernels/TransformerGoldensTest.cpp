// Kernels on rows, tokens and heads against numbers that PyTorch computed (make_transformer_goldens.py).
#include "KernelCases.h"

#include <cmath>
#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

struct Golden {
  const char *kernel;
  std::vector<catalogue::Shape> shapes;
  std::vector<catalogue::Attribute> attributes;
  std::vector<std::vector<double>> before, after;
};

#include "TransformerGoldens.inc"

TEST(Goldens, TransformerKernelsFollowTorch) {
  for (const Golden &golden : kGoldens) {
    KernelCase one{{catalogue::find(golden.kernel, 1), golden.shapes, golden.attributes}, {}, 0, 0};
    for (std::size_t i = 0; i < golden.shapes.size(); ++i) {
      one.operands.emplace_back(one.instance.kernel->operands[i].dtype,
                                catalogue::elements(golden.shapes[i]));
      for (std::size_t k = 0; k < golden.before[i].size(); ++k)
        one.operands[i].set(std::int64_t(k), golden.before[i][k]);
    }
    SerialTileRunner runner;
    const std::vector<Buffer> results = runCase(one, bestIsa(), runner);
    for (std::size_t i = 0; i < results.size(); ++i)
      for (std::size_t k = 0; k < golden.after[i].size(); ++k)
        EXPECT_NEAR(results[i].at(std::int64_t(k)), golden.after[i][k],
                    2e-6 * std::max(1.0, std::abs(golden.after[i][k])))
            << one.text() << " operand " << i << " element " << k;
  }
}

} // namespace

} // namespace stagewright::kernels
