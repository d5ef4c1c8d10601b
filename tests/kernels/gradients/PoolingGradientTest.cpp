#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

using List = std::vector<std::int64_t>;

const CoveredGradients kCovered({"max_pool2d_grad", "avg_pool2d_grad", "adaptive_avg_pool2d_grad"});

const Shape kImage{2, 2, 6, 7}, kPooled{2, 2, 3, 4};
const std::vector<Attribute> kWindows = {
    {"kernel", List{3, 3}}, {"stride", List{2, 2}}, {"padding", List{1, 1}}};

TEST(Gradient, MaxPoolWithDilation) {
  const Shape pooled{2, 2, 4, 5};
  const std::vector<Attribute> windows = {{"kernel", List{2, 2}}, {"dilation", List{2, 2}}};
  const Vector x = randomVector(168), g = randomVector(80);
  const auto run = [&](const Vector &at) {
    return call("max_pool2d", {kImage, pooled, pooled}, {at, {}, {}}, windows);
  };
  expectGradient(call("max_pool2d_grad", {pooled, pooled, kImage}, {g, run(x)[2], {}})[2], x,
                 [&](const Vector &at) { return dot(g, run(at)[1]); });
}

TEST(Gradient, MaxPool) {
  const Vector x = randomVector(168), g = randomVector(48);
  const auto run = [&](const Vector &at) {
    return call("max_pool2d", {kImage, kPooled, kPooled}, {at, {}, {}}, kWindows);
  };
  expectGradient(call("max_pool2d_grad", {kPooled, kPooled, kImage}, {g, run(x)[2], {}})[2], x,
                 [&](const Vector &at) { return dot(g, run(at)[1]); });
}

TEST(Gradient, AveragePool) {
  const Vector x = randomVector(168), g = randomVector(48);
  for (std::int64_t variant : {0, 1, 2}) {
    std::vector<Attribute> attributes = kWindows;
    attributes.push_back({"count_include_pad", std::int64_t(variant == 1)});
    if (variant == 2)
      attributes.push_back({"divisor_override", std::int64_t(5)});
    expectGradient(call("avg_pool2d_grad", {kPooled, kImage}, {g, {}}, attributes)[1], x,
                   [&](const Vector &at) {
                     return dot(g, call("avg_pool2d", {kImage, kPooled}, {at, {}}, attributes)[1]);
                   });
  }
}

TEST(Gradient, AdaptiveAveragePool) {
  const Vector x = randomVector(168), g = randomVector(48);
  expectGradient(call("adaptive_avg_pool2d_grad", {kPooled, kImage}, {g, {}})[1], x, [&](const Vector &at) {
    return dot(g, call("adaptive_avg_pool2d", {kImage, kPooled}, {at, {}})[1]);
  });
}

} // namespace

} // namespace stagewright::kernels
