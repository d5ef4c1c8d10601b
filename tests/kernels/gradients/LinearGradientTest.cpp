#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"linear_input_grad", "linear_weight_grad", "bias_grad"});

TEST(Gradient, Linear) {
  const std::int64_t rows = 5, inputs = 7, outputs = 4;
  const Shape xs{rows, inputs}, ys{rows, outputs}, ws{outputs, inputs};
  const Shape forward{catalogue::packedElements(inputs, outputs)},
      backward{catalogue::packedElements(outputs, inputs)};
  const Vector x = randomVector(rows * inputs), weight = randomVector(outputs * inputs),
               bias = randomVector(outputs);
  const Vector g = randomVector(rows * outputs);
  const auto loss = [&](const Vector &x, const Vector &weight, const Vector &bias) {
    const Vector packed = call("pack_linear_forward", {ws, forward}, {weight, {}})[1];
    return dot(g, call("linear", {xs, forward, ys, {outputs}}, {x, packed, {}, bias})[2]);
  };
  const Vector packed = call("pack_linear_input_grad", {ws, backward}, {weight, {}})[1];
  expectGradient(call("linear_input_grad", {ys, backward, xs}, {g, packed, {}})[2], x,
                 [&](const Vector &at) { return loss(at, weight, bias); });
  expectGradient(call("linear_weight_grad", {ys, xs, ws}, {g, x, {}})[2], weight,
                 [&](const Vector &at) { return loss(x, at, bias); });
  expectGradient(call("bias_grad", {ys, {outputs}}, {g, {}})[1], bias,
                 [&](const Vector &at) { return loss(x, weight, at); });

  const auto plainLoss = [&](const Vector &at) {
    return dot(g, call("linear", {xs, ws, ys, {outputs}}, {at, weight, {}, bias}, {}, 2)[2]);
  };
  expectGradient(call("linear_input_grad", {ys, ws, xs}, {g, weight, {}}, {}, 2)[2], x, plainLoss);
}

} // namespace

} // namespace stagewright::kernels
