#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

/// One rounding.
Cases roundedMap(std::string_view name) {
  return mapCases(name, {}, 3, 0, 0x1p-24);
}

Cases divideCases(std::string_view name) {
  Cases out = mapCases(name, {}, 3, 0, 0x1p-24);
  for (KernelCase &one : out) // no quotient that is too large for f16
    fill(one.operands[1], [] { return (integer(0, 1) ? 1 : -1) * uniform(0.5, 4); });
  return out;
}

Cases scaleCases(std::string_view name) {
  Cases out = mapCases(name, {{"factor", 0.3}}, 3, 0, 0x1p-23);
  for (KernelCase &one : mapCases(name, {{"factor", -1.0}, {"shift", 1.0}}, 3, 0x1p-24, 0x1p-24))
    out.push_back(std::move(one));
  return out;
}

Cases accumulateCases(std::string_view name) {
  Cases out = mapCases(name, {}, 3, 0, 0x1p-24);
  out.push_back(makeCase(name, {{6, 50}, {3, 10, 10}}));
  out.back().relative = 0x1p-24;
  return out;
}

Cases addAndClearCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : {Shape{1}, Shape{17, 3}, Shape{4, 33, 300}}) {
    out.push_back(makeCase(name, {shape, shape}));
    out.back().relative = 0x1p-24;
  }
  return out;
}

/// Of sums that have become infinite, too.
Cases clearCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : {Shape{1}, Shape{17, 3}, Shape{4, 33, 300}})
    out.push_back(makeCase(name, {shape}));
  fill(out.back().operands[0],
       [] { return integer(0, 3) ? uniform(-4, 4) : std::numeric_limits<double>::infinity(); });
  return out;
}

Cases castCases(std::string_view name) {
  return mapCases(name, {}, 100, 0, 0);
}

const TableEntry kTable[] = {
    {"add", roundedMap},
    {"subtract", roundedMap},
    {"multiply", roundedMap},
    {"divide", divideCases},
    {"scale", scaleCases},
    {"accumulate", accumulateCases},
    {"add_and_clear", addAndClearCases},
    {"clear", clearCases},
    {"cast_to", castCases},
    {"cast_from", castCases},
};

} // namespace

std::span<const TableEntry> arithmeticCases() {
  return kTable;
}

} // namespace stagewright::kernels
