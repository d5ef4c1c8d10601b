// Ops and arguments against numbers that PyTorch computed (make_op_goldens.py).
#include "PlainWeights.h"

namespace stagewright::kernels {

namespace {

#include "OpGoldens.inc"

TEST(Goldens, OpsFollowTorch) {
  for (const GoldenCall &golden : kCalls)
    expectGolden(golden, 2e-6);
}

TEST(Goldens, PlainWeightsFollowTorch) {
  EXPECT_EQ(expectPlainGoldens(kCalls, 2e-6), 3);
}

} // namespace

} // namespace stagewright::kernels
