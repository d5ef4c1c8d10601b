#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"slice_grad"});

TEST(Gradient, Slice) {
  const Shape whole{4, 5, 3}, part{2, 5, 1};
  const std::vector<Attribute> starts = {{"starts", std::vector<std::int64_t>{1, 0, 2}}};
  const Vector g = randomVector(10), x = randomVector(60);
  expectGradient(call("slice_grad", {part, whole}, {g, {}}, starts)[1], x, [&](const Vector &at) {
    return dot(g, call("slice", {whole, part}, {at, {}}, starts)[1]);
  });
}

TEST(Gradient, OfExpandIsReduceSumAndTheOtherWayRound) {
  const Shape small{3, 1, 2}, large{4, 3, 5, 2};
  const std::vector<Attribute> scale = {{"scale", 0.75}};
  const Vector x = randomVector(6), g = randomVector(120);
  expectGradient(call("reduce_sum", {large, small}, {g, {}}, scale)[1], x, [&](const Vector &at) {
    return dot(g, call("expand", {small, large}, {at, {}}, scale)[1]);
  });
  expectGradient(call("expand", {small, large}, {x, {}}, scale)[1], g, [&](const Vector &at) {
    return dot(x, call("reduce_sum", {large, small}, {at, {}}, scale)[1]);
  });
}

} // namespace

} // namespace stagewright::kernels
