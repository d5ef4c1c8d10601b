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

TEST(Gradient, Permute) {
  const Shape x{2, 3, 4}, y{4, 2, 3};
  const Vector at = randomVector(24), g = randomVector(24);
  const std::vector<Attribute> there = {{"dims", std::vector<std::int64_t>{2, 0, 1}}},
                               back = {{"dims", std::vector<std::int64_t>{1, 2, 0}}};
  expectGradient(call("permute", {y, x}, {g, {}}, back)[1], at, [&](const Vector &at) {
    return dot(g, call("permute", {x, y}, {at, {}}, there)[1]);
  });
}

TEST(Gradient, ConcatIsSlices) {
  const Shape a{2, 3}, b{2, 4}, y{2, 7};
  const Vector left = randomVector(6), right = randomVector(8), g = randomVector(14);
  const auto loss = [&](const Vector &left, const Vector &right) {
    return dot(g, call("concat", {a, b, y}, {left, right, {}}, {{"dim", std::int64_t(1)}})[2]);
  };
  const auto part = [&](const Shape &shape, std::int64_t start) {
    return call("slice", {y, shape}, {g, {}}, {{"starts", std::vector<std::int64_t>{0, start}}})[1];
  };
  expectGradient(part(a, 0), left, [&](const Vector &at) { return loss(at, right); });
  expectGradient(part(b, 3), right, [&](const Vector &at) { return loss(left, at); });
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
