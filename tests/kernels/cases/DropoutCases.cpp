#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

Cases dropoutOf(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (double p : {0.1, 0.5}) {
      out.push_back(makeCase(name, {shape, {4}, shape},
                             {{"p", p}, {"block", integer(0, 65535)}, {"ordinal", integer(0, 65535)}}));
      fill(out.back().operands[1], [] { return double(integer(-2147483647, 2147483647)); });
      out.back().relative = 0x1p-23;
    }
  for (double p : {0.0, 1e-11}) { // nothing is dropped
    out.push_back(makeCase(name, {{70}, {4}, {70}}, {{"p", p}}));
    out.back().relative = 0x1p-23;
  }
  return out;
}

const TableEntry kTable[] = {{"dropout", dropoutOf}};

} // namespace

std::span<const TableEntry> dropoutCases() {
  return kTable;
}

} // namespace stagewright::kernels
