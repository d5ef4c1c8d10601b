// Family convolution.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>

namespace stagewright::kernels {

namespace {

/// Calls body(element of x, element of y, element of the weight) for every product of a convolution of
/// operand `image` to operand `result`.
template <typename Body>
void eachProduct(const Values &v, std::size_t image, std::size_t result, std::int64_t kernelRows,
                 std::int64_t kernelColumns, const Body &body) {
  const auto stride = v.list("stride"), padding = v.list("padding"), dilation = v.list("dilation");
  const std::int64_t groups = v.integer("groups"), inputs = v.size(image, 1) / groups,
                     outputs = v.size(result, 1) / groups;
  const std::int64_t height = v.size(image, 2), width = v.size(image, 3), rows = v.size(result, 2),
                     columns = v.size(result, 3);
  for (std::int64_t sample = 0; sample < v.size(image, 0); ++sample)
    for (std::int64_t output = 0; output < groups * outputs; ++output)
      for (std::int64_t i = 0; i < rows * columns; ++i)
        for (std::int64_t k = 0; k < inputs * kernelRows * kernelColumns; ++k) {
          const std::int64_t input = k / (kernelRows * kernelColumns), tap = k % (kernelRows * kernelColumns);
          const std::int64_t y = i / columns * stride[0] - padding[0] + tap / kernelColumns * dilation[0],
                             x = i % columns * stride[1] - padding[1] + tap % kernelColumns * dilation[1];
          const std::int64_t channel = sample * groups * inputs + output / outputs * inputs + input;
          if (y >= 0 && y < height && x >= 0 && x < width)
            body(std::size_t((channel * height + y) * width + x),
                 std::size_t((sample * groups * outputs + output) * rows * columns + i),
                 std::size_t(output * inputs * kernelRows * kernelColumns + k));
        }
}

/// Where element `i` of the weight lies in the form for the gradient of the input:
/// [group][input][output][tap].
std::size_t packedForInputGrad(std::size_t i, std::int64_t groups, std::int64_t outputs, std::int64_t inputs,
                               std::int64_t taps) {
  const std::int64_t at = std::int64_t(i), output = at / (inputs * taps), input = at / taps % inputs,
                     ofGroup = outputs / groups;
  return std::size_t(((output / ofGroup * inputs + input) * ofGroup + output % ofGroup) * taps + at % taps);
}

double rounded(double value, const std::string &to) {
  if (to == "f16")
    return double(_Float16(float(value)));
  if (to != "bf16")
    return value;
  int exponent = 0;
  std::frexp(value, &exponent);
  const double unit = std::ldexp(1.0, exponent - 8); // of a significand of eight bits
  return std::nearbyint(value / unit) * unit;
}

void packForward(const Values &v) {
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][i] = rounded(v[0][i], v.text("round"));
}

void packInputGrad(const Values &v) {
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][packedForInputGrad(i, v.integer("groups"), v.size(0, 0), v.size(0, 1),
                            v.size(0, 2) * v.size(0, 3))] = rounded(v[0][i], v.text("round"));
}

void conv2d(const Values &v) {
  const std::size_t plane = std::size_t(v.size(2, 2) * v.size(2, 3)), outputs = std::size_t(v.size(2, 1));
  for (std::size_t i = 0; i < v[2].size(); ++i)
    v[2][i] = v.has(3) ? v[3][i / plane % outputs] : 0;
  eachProduct(v, 0, 2, v.list("kernel")[0], v.list("kernel")[1],
              [&](auto x, auto y, auto weight) { v[2][y] += v[0][x] * v[1][weight]; });
}

/// place(i): where element i of the weight lies.
template <typename Place>
void inputGradient(const Values &v, const Place &place) {
  std::ranges::fill(v[2], 0.0);
  eachProduct(v, 2, 0, v.list("kernel")[0], v.list("kernel")[1],
              [&](auto x, auto y, auto weight) { v[2][x] += v[0][y] * v[1][place(weight)]; });
}

void conv2dInputGrad(const Values &v) {
  const std::int64_t groups = v.integer("groups"), inputs = v.size(2, 1) / groups,
                     taps = v.list("kernel")[0] * v.list("kernel")[1];
  inputGradient(v,
                [&](auto weight) { return packedForInputGrad(weight, groups, v.size(0, 1), inputs, taps); });
}

/// Version 2, whose weight is as the parameter is.
void conv2dInputGradPlain(const Values &v) {
  inputGradient(v, [](auto weight) { return weight; });
}

void conv2dWeightGrad(const Values &v) {
  eachProduct(v, 1, 0, v.size(2, 2), v.size(2, 3),
              [&](auto x, auto y, auto weight) { v[2][weight] += v[0][y] * v[1][x]; });
}

constexpr ReferenceEntry kEntries[] = {
    {"pack_conv2d_forward", packForward},
    {"pack_conv2d_input_grad", packInputGrad},
    {"conv2d", conv2d},
    {"conv2d_input_grad", conv2dInputGrad},
    {"conv2d_weight_grad", conv2dWeightGrad},
    // The packed form of the forward product is the weight in its own order.
    {"conv2d", conv2d, 2},
    {"conv2d_input_grad", conv2dInputGradPlain, 2},
};

} // namespace

ReferenceTable convolutionReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
