#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

/// The bounds of docs/kernels.md; a gradient's is for g = 1, and g is up to 6 here.
Cases geluCases(std::string_view name) {
  const double factor = name == "gelu_grad" ? 6 : 1;
  Cases out = mapCases(name, {}, 6, factor * 5e-7, 5e-7);
  for (KernelCase &one : mapCases(name, {{"approximate", std::string("tanh")}}, 6, factor * 1e-6, 1e-6))
    out.push_back(std::move(one));
  return out;
}

Cases copyCases(std::string_view name) {
  Cases out = mapCases(name, {}, 1, 0, 0);
  out.push_back(makeCase(name, {{6, 50}, {3, 10, 10}}));
  return out;
}

Cases exactMap(std::string_view name) {
  return mapCases(name, {}, 2, 0, 0);
}
Cases tanhMap(std::string_view name) {
  return mapCases(name, {}, 9, 0, 0x1p-22);
}
Cases tanhGradMap(std::string_view name) {
  return mapCases(name, {}, 1, 1e-7, 3e-7);
}

Cases sigmoidMap(std::string_view name) {
  return mapCases(name, {}, 20, 0, 4e-7);
}
Cases sigmoidGradMap(std::string_view name) {
  return mapCases(name, {}, 1, 1e-7, 4e-7);
}
/// The bounds of docs/kernels.md are for g = 1 and up = 1, which are up to 6 here.
Cases siluGradMap(std::string_view name) {
  return mapCases(name, {}, 6, (name == "swiglu_grad" ? 36 : 6) * 5e-7, 6e-7);
}
Cases swigluMap(std::string_view name) {
  return mapCases(name, {}, 6, 0, 5e-7);
}

const TableEntry kTable[] = {
    {"relu", exactMap},
    {"relu_grad", exactMap},
    {"tanh", tanhMap},
    {"tanh_grad", tanhGradMap},
    {"gelu", geluCases},
    {"gelu_grad", geluCases},
    {"copy", copyCases},
    {"silu", sigmoidMap},
    {"silu_grad", siluGradMap},
    {"sigmoid", sigmoidMap},
    {"sigmoid_grad", sigmoidGradMap},
    {"swiglu", swigluMap},
    {"swiglu_grad", siluGradMap},
};

} // namespace

std::span<const TableEntry> activationCases() {
  return kTable;
}

} // namespace stagewright::kernels
