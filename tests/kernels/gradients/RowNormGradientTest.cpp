#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"layer_norm_grad", "layer_norm_weight_grad", "rms_norm_grad",
                                 "rms_norm_weight_grad", "normalize_grad"});

constexpr std::int64_t kRows = 4, kColumns = 6;
const Shape kMatrix{kRows, kColumns}, kRow{kColumns}, kColumn{kRows};

/// Also of rows whose norm is below epsilon: there the divisor is constant.
TEST(Gradient, Normalize) {
  const Vector x = randomVector(kRows * kColumns), g = randomVector(kRows * kColumns);
  for (double epsilon : {1e-12, 100.0}) {
    const std::vector<Attribute> attributes = {{"epsilon", epsilon}};
    const auto run = [&](const Vector &at) {
      return call("normalize", {kMatrix, kMatrix, kColumn}, {at, {}, {}}, attributes);
    };
    expectGradient(
        call("normalize_grad", {kMatrix, kMatrix, kColumn, kMatrix}, {g, x, run(x)[2], {}}, attributes)[3], x,
        [&](const Vector &at) { return dot(g, run(at)[1]); });
  }
}

TEST(Gradient, LayerNorm) {
  const Vector x = randomVector(kRows * kColumns), g = randomVector(kRows * kColumns),
               weight = randomVector(kColumns), bias = randomVector(kColumns);
  const auto run = [&](const Vector &x, const Vector &weight) {
    return call("layer_norm", {kMatrix, kMatrix, kColumn, kColumn, kRow, kRow}, {x, {}, {}, {}, weight, bias},
                {{"epsilon", 0.125}});
  };
  const auto forward = run(x, weight);
  expectGradient(call("layer_norm_grad", {kMatrix, kMatrix, kColumn, kColumn, kMatrix, kRow},
                      {g, x, forward[2], forward[3], {}, weight})[4],
                 x, [&](const Vector &at) { return dot(g, run(at, weight)[1]); });
  expectGradient(call("layer_norm_weight_grad", {kMatrix, kMatrix, kColumn, kColumn, kRow},
                      {g, x, forward[2], forward[3], {}})[4],
                 weight, [&](const Vector &at) { return dot(g, run(x, at)[1]); });
}

TEST(Gradient, RmsNorm) {
  const Vector x = randomVector(kRows * kColumns), g = randomVector(kRows * kColumns),
               weight = randomVector(kColumns);
  const auto run = [&](const Vector &x, const Vector &weight) {
    return call("rms_norm", {kMatrix, kMatrix, kColumn, kRow}, {x, {}, {}, weight}, {{"epsilon", 0.125}});
  };
  const auto forward = run(x, weight);
  expectGradient(
      call("rms_norm_grad", {kMatrix, kMatrix, kColumn, kMatrix, kRow}, {g, x, forward[2], {}, weight})[3], x,
      [&](const Vector &at) { return dot(g, run(at, weight)[1]); });
  expectGradient(call("rms_norm_weight_grad", {kMatrix, kMatrix, kColumn, kRow}, {g, x, forward[2], {}})[3],
                 weight, [&](const Vector &at) { return dot(g, run(x, at)[1]); });
}

} // namespace

} // namespace stagewright::kernels
