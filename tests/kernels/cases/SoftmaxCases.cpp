#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

Cases softmaxOf(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto n) { return std::vector<Shape>{{m, n}, {m, n}}; });
  out.push_back(makeCase(name, {{3, 100}, {3, 100}}));
  fill(out.back().operands[0], [] { return uniform(-80, 80); });
  for (KernelCase &one : out) {
    one.absolute = 1e-37; // below it is zero
    one.relative = 2e-6;
  }
  out.back().relative = 2e-5;                                // exp of a difference of up to 160
  out.push_back(makeCase(name, {{1, 262145}, {1, 262145}})); // longer than the scratch
  out.back().relative = 2e-6;
  return out;
}

Cases softmaxGradOf(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto n) { return std::vector<Shape>{{m, n}, {m, n}, {m, n}}; });
  for (KernelCase &one : out) {
    const double columns = double(one.instance.shapes[0][1]);
    fill(one.operands[1], [=] { return uniform(0, 2 / columns); });
    one.absolute = 5e-6 / columns;
    one.relative = 1e-6;
  }
  return out;
}

const TableEntry kTable[] = {{"softmax", softmaxOf}, {"softmax_grad", softmaxGradOf}};

} // namespace

std::span<const TableEntry> softmaxCases() {
  return kTable;
}

} // namespace stagewright::kernels
