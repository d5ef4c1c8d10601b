#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

using List = std::vector<std::int64_t>;

const CoveredGradients kCovered({"conv2d_input_grad", "conv2d_weight_grad"});

TEST(Gradient, Convolution) {
  for (std::int64_t groups : {1, 2}) {
    const Shape xs{2, 4, 5, 6}, ws{6, 4 / groups, 3, 2}, ys{2, 6, 3, 3}, bs{6};
    const std::vector<Attribute> ofWeight = {
        {"stride", List{2, 2}}, {"padding", List{1, 1}}, {"dilation", List{1, 2}}, {"groups", groups}};
    std::vector<Attribute> all = ofWeight;
    all.push_back({"kernel", List{3, 2}});
    const std::int64_t size = catalogue::elements(ws);
    const Vector x = randomVector(240), weight = randomVector(size), bias = randomVector(6),
                 g = randomVector(108);
    const auto pack = [&](const char *kernel, const Vector &weight) {
      return call(kernel, {ws, {size}}, {weight, {}}, {{"groups", groups}})[1];
    };
    const auto loss = [&](const Vector &x, const Vector &weight, const Vector &bias) {
      return dot(g, call("conv2d", {xs, {size}, ys, bs}, {x, pack("pack_conv2d_forward", weight), {}, bias},
                         all)[2]);
    };
    expectGradient(
        call("conv2d_input_grad", {ys, {size}, xs}, {g, pack("pack_conv2d_input_grad", weight), {}}, all)[2],
        x, [&](const Vector &at) { return loss(at, weight, bias); });
    expectGradient(call("conv2d_weight_grad", {ys, xs, ws}, {g, x, {}}, ofWeight)[2], weight,
                   [&](const Vector &at) { return loss(x, at, bias); });
    expectGradient(call("channel_bias_grad", {{2, 6, 9}, bs}, {g, {}})[1], bias,
                   [&](const Vector &at) { return loss(x, weight, at); });
    const auto plainLoss = [&](const Vector &at) {
      return dot(g, call("conv2d", {xs, ws, ys, bs}, {at, weight, {}, bias}, all, 2)[2]);
    };
    expectGradient(call("conv2d_input_grad", {ys, ws, xs}, {g, weight, {}}, all, 2)[2], x, plainLoss);
  }
}

} // namespace

} // namespace stagewright::kernels
