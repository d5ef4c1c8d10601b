// Family activation.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace stagewright::kernels {

namespace {

double gelu(double x, bool isTanh) {
  if (!isTanh)
    return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double geluSlope(double x, bool isTanh) {
  if (!isTanh)
    return 0.5 * std::erfc(-x / std::numbers::sqrt2) +
           x * std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
  const double factor = std::sqrt(2 / std::numbers::pi), t = std::tanh(factor * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * factor * (1 + 3 * 0.044715 * x * x);
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double siluSlope(double x) {
  return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
}

void swigluGrad(const Values &v) {
  for (std::size_t i = 0; i < v[0].size(); ++i) {
    v[3][i] = v[0][i] * v[2][i] * siluSlope(v[1][i]);
    v[4][i] = v[0][i] * v[1][i] * sigmoid(v[1][i]);
  }
}

constexpr ReferenceEntry kEntries[] = {
    {"relu", [](const Values &v) { map(v, [](double x, double) { return std::max(x, 0.0); }); }},
    {"relu_grad", [](const Values &v) { map(v, [](double g, double y) { return y > 0 ? g : 0; }); }},
    {"tanh", [](const Values &v) { map(v, [](double x, double) { return std::tanh(x); }); }},
    {"tanh_grad", [](const Values &v) { map(v, [](double g, double y) { return g * (1 - y * y); }); }},
    {"gelu",
     [](const Values &v) {
       map(v, [&](double x, double) { return gelu(x, v.text("approximate") == "tanh"); });
     }},
    {"gelu_grad",
     [](const Values &v) {
       map(v, [&](double g, double x) { return g * geluSlope(x, v.text("approximate") == "tanh"); });
     }},
    {"silu", [](const Values &v) { map(v, [](double x, double) { return x * sigmoid(x); }); }},
    {"silu_grad", [](const Values &v) { map(v, [](double g, double x) { return g * siluSlope(x); }); }},
    {"sigmoid", [](const Values &v) { map(v, [](double x, double) { return sigmoid(x); }); }},
    {"sigmoid_grad", [](const Values &v) { map(v, [](double g, double y) { return g * y * (1 - y); }); }},
    {"swiglu",
     [](const Values &v) { map(v, [](double gate, double up) { return gate * sigmoid(gate) * up; }); }},
    {"swiglu_grad", swigluGrad},
    {"copy", [](const Values &v) { v[1] = v[0]; }},
};

} // namespace

ReferenceTable activationReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
