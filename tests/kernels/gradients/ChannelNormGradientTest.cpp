#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"batch_norm_grad", "batch_norm_weight_grad", "channel_bias_grad",
                                 "group_norm_grad", "group_norm_weight_grad"});

const std::vector<Attribute> kEpsilon = {{"epsilon", 0.125}};

TEST(Gradient, BatchNorm) {
  const Shape xs{3, 4, 5}, c{4};
  const Vector x = randomVector(60), weight = randomVector(4), bias = randomVector(4), g = randomVector(60);
  const auto run = [&](const Vector &x, const Vector &weight, const Vector &bias) {
    return call("batch_norm", {xs, xs, c, c, c, c}, {x, {}, {}, {}, weight, bias}, kEpsilon);
  };
  const auto loss = [&](const Vector &x, const Vector &weight, const Vector &bias) {
    return dot(g, run(x, weight, bias)[1]);
  };
  const auto forward = run(x, weight, bias);
  expectGradient(
      call("batch_norm_grad", {xs, xs, c, c, xs, c}, {g, x, forward[2], forward[3], {}, weight}, kEpsilon)[4],
      x, [&](const Vector &at) { return loss(at, weight, bias); });
  expectGradient(
      call("batch_norm_weight_grad", {xs, xs, c, c, c}, {g, x, forward[2], forward[3], {}}, kEpsilon)[4],
      weight, [&](const Vector &at) { return loss(x, at, bias); });
  expectGradient(call("channel_bias_grad", {xs, c}, {g, {}})[1], bias,
                 [&](const Vector &at) { return loss(x, weight, at); });
}

TEST(Gradient, GroupNorm) {
  const Shape xs{3, 4, 5}, c{4}, groups{3, 2};
  const Vector x = randomVector(60), weight = randomVector(4), bias = randomVector(4), g = randomVector(60);
  const auto run = [&](const Vector &x, const Vector &weight) {
    return call("group_norm", {xs, xs, groups, groups, c, c}, {x, {}, {}, {}, weight, bias}, kEpsilon);
  };
  const auto forward = run(x, weight);
  expectGradient(
      call("group_norm_grad", {xs, xs, groups, groups, xs, c}, {g, x, forward[2], forward[3], {}, weight})[4],
      x, [&](const Vector &at) { return dot(g, run(at, weight)[1]); });
  expectGradient(
      call("group_norm_weight_grad", {xs, xs, groups, groups, c}, {g, x, forward[2], forward[3], {}})[4],
      weight, [&](const Vector &at) { return dot(g, run(x, at)[1]); });
}

} // namespace

} // namespace stagewright::kernels
