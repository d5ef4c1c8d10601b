#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"batch_norm_grad", "batch_norm_weight_grad", "channel_bias_grad",
                                 "sync_batch_norm_grad", "group_norm_grad", "group_norm_weight_grad"});

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

/// The elements of one replica among those of three.
Vector partOf(const Vector &all, std::size_t replica) {
  const auto size = std::ptrdiff_t(all.size() / 3), begin = size * std::ptrdiff_t(replica);
  return {all.begin() + begin, all.begin() + begin + size};
}
void append(Vector &all, const Vector &part) {
  all.insert(all.end(), part.begin(), part.end());
}

/// The loss of three replicas by the elements of all of them.
TEST(Gradient, SyncBatchNorm) {
  const Shape xs{2, 4, 5}, c{4}, rows{2, 4}, gathered{3, 2, 4};
  const Vector x = randomVector(120), weight = randomVector(4), bias = randomVector(4), g = randomVector(120);
  const auto run = [&](const Vector &x, const Vector &weight, const Vector &bias) {
    Vector moments;
    for (std::size_t r = 0; r < 3; ++r)
      append(moments, call("channel_moments", {xs, rows}, {partOf(x, r), {}})[1]);
    std::vector<ReferenceOperands> out;
    for (std::size_t r = 0; r < 3; ++r)
      out.push_back(call("sync_batch_norm", {xs, gathered, xs, c, c, c, c},
                         {partOf(x, r), moments, {}, {}, {}, weight, bias}, kEpsilon));
    return out;
  };
  const auto loss = [&](const Vector &x, const Vector &weight, const Vector &bias) {
    double sum = 0;
    const auto out = run(x, weight, bias);
    for (std::size_t r = 0; r < 3; ++r)
      sum += dot(partOf(g, r), out[r][2]);
    return sum;
  };
  const auto forward = run(x, weight, bias);
  const Vector &mean = forward[0][3], &variance = forward[0][4];
  Vector means, dx, ofWeight(4);
  for (std::size_t r = 0; r < 3; ++r) {
    append(means,
           call("channel_gradient_means", {xs, xs, c, rows}, {partOf(g, r), partOf(x, r), mean, {}})[3]);
    ofWeight = call("batch_norm_weight_grad", {xs, xs, c, c, c},
                    {partOf(g, r), partOf(x, r), mean, variance, ofWeight}, kEpsilon)[4];
  }
  for (std::size_t r = 0; r < 3; ++r)
    append(dx, call("sync_batch_norm_grad", {xs, xs, c, c, gathered, xs, c},
                    {partOf(g, r), partOf(x, r), mean, variance, means, {}, weight}, kEpsilon)[5]);
  expectGradient(dx, x, [&](const Vector &at) { return loss(at, weight, bias); });
  expectGradient(ofWeight, weight, [&](const Vector &at) { return loss(x, at, bias); });
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
