// Ops and arguments against numbers that PyTorch computed (make_op_goldens.py).
#include "GoldenCalls.h"

namespace stagewright::kernels {

namespace {

#include "OpGoldens.inc"

TEST(Goldens, OpsFollowTorch) {
  for (const GoldenCall &golden : kCalls)
    expectGolden(golden, 2e-6);
}

} // namespace

} // namespace stagewright::kernels
