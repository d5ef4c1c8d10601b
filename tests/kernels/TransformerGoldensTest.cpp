// Kernels on rows, tokens and heads against numbers that PyTorch computed (make_transformer_goldens.py).
#include "GoldenCalls.h"

namespace stagewright::kernels {

namespace {

#include "TransformerGoldens.inc"

TEST(Goldens, TransformerKernelsFollowTorch) {
  for (const GoldenCall &golden : kGoldens)
    expectGolden(golden, 2e-6);
}

} // namespace

} // namespace stagewright::kernels
