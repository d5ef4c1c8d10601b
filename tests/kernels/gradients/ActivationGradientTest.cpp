#include "FiniteDifferences.h"

#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

const CoveredGradients kCovered({"relu_grad", "tanh_grad", "gelu_grad", "silu_grad", "sigmoid_grad",
                                 "swiglu_grad"});

TEST(Gradient, Activations) {
  const Shape shape{40};
  const Vector g = randomVector(40);
  const std::vector<Attribute> viaTanh = {{"approximate", std::string("tanh")}};
  for (const auto &[kernel, grad, ofResult, attributes] :
       {std::tuple{"relu", "relu_grad", true, std::vector<Attribute>{}},
        {"tanh", "tanh_grad", true, {}},
        {"gelu", "gelu_grad", false, {}},
        {"silu", "silu_grad", false, {}},
        {"sigmoid", "sigmoid_grad", true, {}},
        {"gelu", "gelu_grad", false, viaTanh}}) {
    const Vector x = randomVector(40, -3, 3);
    const auto run = [&, kernel = kernel, attributes = attributes](const Vector &at) {
      return call(kernel, {shape, shape}, {at, {}}, attributes)[1];
    };
    expectGradient(call(grad, {shape, shape, shape}, {g, ofResult ? run(x) : x, {}}, attributes)[2], x,
                   [&](const Vector &at) { return dot(g, run(at)); });
  }
}

TEST(Gradient, Swiglu) {
  const Shape shape{30};
  const Vector g = randomVector(30), gate = randomVector(30, -3, 3), up = randomVector(30);
  const auto loss = [&](const Vector &gate, const Vector &up) {
    return dot(g, call("swiglu", {shape, shape, shape}, {gate, up, {}})[2]);
  };
  const auto grads = call("swiglu_grad", std::vector<Shape>(5, shape), {g, gate, up, {}, {}});
  expectGradient(grads[3], gate, [&](const Vector &at) { return loss(at, up); });
  expectGradient(grads[4], up, [&](const Vector &at) { return loss(gate, at); });
}

} // namespace

} // namespace stagewright::kernels
