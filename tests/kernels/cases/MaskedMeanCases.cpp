#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

/// Samples, tokens, columns: around a vector (16), a strip of columns (128) and a tile (16384).
const std::vector<std::array<std::int64_t, 3>> kSizes = {{1, 1, 1},    {3, 5, 7},    {2, 9, 16},
                                                         {4, 3, 17},   {2, 33, 127}, {3, 40, 128},
                                                         {5, 21, 129}, {6, 50, 260}, {8, 16, 384}};

/// Masks of many kinds: none of a sample's tokens, one, all, some.
Cases maskedCases(std::string_view name, bool isGradient) {
  Cases out;
  for (const auto &[samples, tokens, columns] : kSizes) {
    const Shape values{samples, tokens, columns}, means{samples, columns};
    out.push_back(
        makeCase(name, {isGradient ? means : values, {samples, tokens}, isGradient ? values : means}));
    for (std::int64_t sample = 0; sample < samples; ++sample)
      for (std::int64_t token = 0; token < tokens; ++token) {
        const bool some = integer(0, 2) != 0;
        out.back().operands[1].set(sample * tokens + token, sample % 4 == 1   ? 0
                                                            : sample % 4 == 2 ? token == tokens - 1
                                                            : sample % 4 == 3 ? some
                                                                              : 1);
      }
    out.back().absolute = double(tokens + 2) * 0x1p-24;
    out.back().relative = 1e-6;
  }
  out.push_back(out[1]);
  out.back().instance.attributes = {{"epsilon", 4.0}};
  return out;
}

const TableEntry kTable[] = {
    {"masked_mean", [](std::string_view name) { return maskedCases(name, false); }},
    {"masked_mean_grad", [](std::string_view name) { return maskedCases(name, true); }},
};

} // namespace

std::span<const TableEntry> maskedMeanCases() {
  return kTable;
}

} // namespace stagewright::kernels
