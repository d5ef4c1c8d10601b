#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"softmax_grad"});

TEST(Gradient, Softmax) {
  const Shape shape{3, 7};
  const Vector x = randomVector(21, -2, 2), g = randomVector(21);
  const auto run = [&](const Vector &at) { return call("softmax", {shape, shape}, {at, {}})[1]; };
  expectGradient(call("softmax_grad", {shape, shape, shape}, {g, run(x), {}})[2], x,
                 [&](const Vector &at) { return dot(g, run(at)); });
}

} // namespace

} // namespace stagewright::kernels
