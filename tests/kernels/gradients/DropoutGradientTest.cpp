#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

/// The same call on the gradient: it draws the same numbers.
TEST(Gradient, Dropout) {
  const Shape shape{3, 7};
  const Vector x = randomVector(21), g = randomVector(21), random = {1, 2, 3, 4};
  for (std::int64_t stream : {0, 3}) {
    const auto run = [&](const Vector &at) {
      return call("dropout", {shape, {4}, shape}, {at, random, {}},
                  {{"p", 0.25}, {"block", stream}, {"ordinal", 2 * stream}})[2];
    };
    expectGradient(run(g), x, [&](const Vector &at) { return dot(g, run(at)); });
  }
}

} // namespace

} // namespace stagewright::kernels
