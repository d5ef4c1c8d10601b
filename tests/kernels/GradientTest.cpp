// Every gradient kernel's reference against central differences of its forward reference, in fp64.
#include "KernelCases.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

namespace stagewright::kernels {

namespace {

using Vector = std::vector<double>;
using catalogue::Attribute;
using catalogue::Shape;

Vector randomVector(std::int64_t size, double low = -1, double high = 1) {
  static std::mt19937_64 engine(7);
  Vector out(static_cast<std::size_t>(size));
  for (double &value : out)
    value = std::uniform_real_distribution<double>(low, high)(engine);
  return out;
}

/// Runs a reference; operands without contents are zero. Returns all operands.
ReferenceOperands call(const char *kernel, std::vector<Shape> shapes, ReferenceOperands operands,
                       std::vector<Attribute> attributes = {}) {
  for (std::size_t i = 0; i < operands.size(); ++i)
    operands[i].resize(std::size_t(catalogue::elements(shapes[i])));
  EXPECT_TRUE(runReference({catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, operands));
  return operands;
}

double dot(const Vector &a, const Vector &b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += a[i] * b[i];
  return sum;
}

/// d loss / d at, where loss is a function of `at`.
template <typename Loss>
void expectGradient(const Vector &gradient, Vector at, const Loss &loss) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(gradient.size(), at.size());
  for (std::size_t i = 0; i < at.size(); ++i) {
    const double value = at[i];
    at[i] = value + kStep;
    const double above = loss(at);
    at[i] = value - kStep;
    const double below = loss(at);
    at[i] = value;
    ASSERT_NEAR(gradient[i], (above - below) / (2 * kStep), 1e-7) << "element " << i;
  }
}

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
}

TEST(Gradient, Activations) {
  const Shape shape{40};
  const Vector g = randomVector(40);
  const std::vector<Attribute> viaTanh = {{"approximate", std::string("tanh")}};
  for (const auto &[kernel, grad, ofResult, attributes] :
       {std::tuple{"relu", "relu_grad", true, std::vector<Attribute>{}},
        {"tanh", "tanh_grad", true, {}},
        {"gelu", "gelu_grad", false, {}},
        {"gelu", "gelu_grad", false, viaTanh}}) {
    const Vector x = randomVector(40, -3, 3);
    const auto run = [&, kernel = kernel, attributes = attributes](const Vector &at) {
      return call(kernel, {shape, shape}, {at, {}}, attributes)[1];
    };
    expectGradient(call(grad, {shape, shape, shape}, {g, ofResult ? run(x) : x, {}}, attributes)[2], x,
                   [&](const Vector &at) { return dot(g, run(at)); });
  }
}

TEST(Gradient, SoftmaxCrossEntropy) {
  const std::int64_t rows = 6, columns = 5;
  const Shape logits{rows, columns}, labels{rows};
  const Vector x = randomVector(rows * columns, -2, 2), label = {0, 4, 2, 2, 1, 3};
  const auto run = [&](const Vector &at) {
    return call("softmax_cross_entropy", {logits, labels, {1}, {1}, labels},
                {at, label, {double(rows)}, {}, {}});
  };
  const Vector dx = call("softmax_cross_entropy_grad", {logits, labels, labels, logits},
                         {x, label, run(x)[4], {}}, {{"scale", 1.0 / double(rows)}})[3];
  expectGradient(dx, x, [&](const Vector &at) { return run(at)[3][0]; });
}

TEST(Gradient, MeanSquaredError) {
  const Shape shape{4, 3};
  const Vector x = randomVector(12), target = randomVector(12);
  const Vector dx = call("mse_loss_grad", {shape, shape, shape}, {x, target, {}}, {{"scale", 2.0 / 12}})[2];
  expectGradient(dx, x, [&](const Vector &at) {
    return call("mse_loss", {shape, shape, {1}, {1}}, {at, target, {4}, {}})[3][0];
  });
}

/// A kernel whose name ends in _grad must occur above.
TEST(Gradient, EveryGradientKernelIsHere) {
  std::vector<std::string_view> gradients;
  for (const catalogue::Kernel &kernel : catalogue::kernels())
    if (kernel.name.ends_with("_grad") && !kernel.name.starts_with("pack_"))
      gradients.push_back(kernel.name);
  EXPECT_EQ(gradients, (std::vector<std::string_view>{"linear_input_grad", "linear_weight_grad", "bias_grad",
                                                      "relu_grad", "tanh_grad", "gelu_grad",
                                                      "softmax_cross_entropy_grad", "mse_loss_grad"}));
}

} // namespace

} // namespace stagewright::kernels
