#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"masked_mean_grad"});

/// Samples with some tokens, with all of them, and with none.
TEST(Gradient, MaskedMean) {
  const Shape values{3, 4, 5}, tokens{3, 4}, means{3, 5};
  const Vector x = randomVector(60), g = randomVector(15), mask{1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0};
  for (double epsilon : {1e-9, 2.5}) {
    const std::vector<Attribute> attributes = {{"epsilon", epsilon}};
    const auto run = [&](const Vector &at) {
      return call("masked_mean", {values, tokens, means}, {at, mask, {}}, attributes)[2];
    };
    expectGradient(call("masked_mean_grad", {means, tokens, values}, {g, mask, {}}, attributes)[2], x,
                   [&](const Vector &at) { return dot(g, run(at)); });
  }
}

} // namespace

} // namespace stagewright::kernels
