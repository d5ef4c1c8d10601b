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
    {"copy", [](const Values &v) { v[1] = v[0]; }},
};

} // namespace

ReferenceTable activationReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
