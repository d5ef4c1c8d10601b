#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

TEST(Gradient, Rotary) {
  const Shape shape{2, 3, 2, 6}, table{3, 6};
  const Vector x = randomVector(72), g = randomVector(72), angles = call("rotary_table", {table}, {{}})[0];
  for (std::int64_t interleaved : {0, 1}) {
    const auto run = [&](const Vector &at, std::int64_t inverse) {
      return call("rotary", {shape, table, shape}, {at, angles, {}},
                  {{"inverse", inverse}, {"interleaved", interleaved}})[2];
    };
    expectGradient(run(g, 1), x, [&](const Vector &at) { return dot(g, run(at, 0)); });
  }
}

} // namespace

} // namespace stagewright::kernels
