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

/// Values that lie anywhere between their neighbours, those that are subnormal in fp16, too.
Cases castStochasticOf(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (std::int64_t split : {0, 1}) {
      out.push_back(
          makeCase(name, {shape, {5}, shape}, {{"parameter", integer(0, 1 << 20)}, {"split", split}}));
      fill(out.back().operands[0], [] { return std::ldexp(uniform(-1, 1), int(integer(-32, 15))); });
      fill(out.back().operands[1], [] { return double(integer(-2147483647, 2147483647)); });
    }
  out.push_back(makeCase(name, {{70}, {5}, {70}})); // to the nearest
  fill(out.back().operands[0], [] { return uniform(-1, 1); });
  return out;
}

const TableEntry kTable[] = {{"dropout", dropoutOf}, {"cast_stochastic", castStochasticOf}};

} // namespace

std::span<const TableEntry> dropoutCases() {
  return kTable;
}

} // namespace stagewright::kernels
