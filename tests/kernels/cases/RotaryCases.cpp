#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

Cases rotaryTableOf(std::string_view name) {
  Cases out;
  for (const auto &[rows, columns, base] :
       {std::tuple{1, 2, 10000.0}, {9, 64, 10000.0}, {130, 30, 500000.0}, {2000, 34, 1.0}, {40000, 4, 2.0}}) {
    out.push_back(makeCase(name, {{rows, columns}}, {{"base", base}}));
    out.back().absolute = 0x1p-25 + 1e-10; // rounding to fp32, and the reference's angles
  }
  return out;
}

Cases rotaryOf(std::string_view name) {
  Cases out;
  for (const Shape &shape :
       {Shape{1, 1, 1, 2}, Shape{2, 3, 4, 6}, Shape{1, 5, 2, 32}, Shape{3, 17, 2, 34}, Shape{2, 50, 7, 64}})
    for (std::int64_t inverse : {0, 1})
      for (std::int64_t interleaved : {0, 1}) {
        out.push_back(makeCase(name, {shape, {shape[1], shape[3]}, shape},
                               {{"inverse", inverse}, {"interleaved", interleaved}}));
        out.back().absolute = 3e-7;
      }
  return out;
}

const TableEntry kTable[] = {{"rotary_table", rotaryTableOf}, {"rotary", rotaryOf}};

} // namespace

std::span<const TableEntry> rotaryCases() {
  return kTable;
}

} // namespace stagewright::kernels
