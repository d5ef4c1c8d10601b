#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

const std::vector<std::array<std::int64_t, 3>> kSizes = {
    {1, 1, 1},       {5, 3, 16},   {40, 7, 17},
    {33, 1000, 130}, {700, 9, 64}, {300, 50, 257}}; // tokens, entries, columns

/// Each case, and with its table as the part of one of four ranks, with ids of all of them.
Cases withTensorRank(Cases plain, std::size_t table) {
  const std::size_t count = plain.size();
  for (std::size_t i = 0; i < count; ++i) {
    KernelCase one = plain[i];
    const std::int64_t entries = one.instance.shapes[table][0];
    one.instance.shapes.push_back({1});
    one.operands.emplace_back(DType::I32, 1);
    one.operands.back().set(0, double(integer(0, 3)));
    fill(one.operands[0], [entries] { return double(integer(0, 4 * entries - 1)); });
    plain.push_back(std::move(one));
  }
  return plain;
}

Cases embeddingOf(std::string_view name) {
  Cases out;
  for (const auto &[tokens, entries, columns] : kSizes) {
    out.push_back(
        makeCase(name, {{tokens}, {entries, columns}, {tokens, columns}}, {{"padding_idx", tokens % 3 - 1}}));
    fill(out.back().operands[0], [entries = entries] { return double(integer(0, entries - 1)); });
  }
  return withTensorRank(std::move(out), 1);
}

/// Also ids that are no rows: they have no gradient.
Cases embeddingGradOf(std::string_view name) {
  Cases out;
  for (const auto &[tokens, entries, columns] : kSizes)
    for (std::int64_t padding : {-1, 2}) {
      out.push_back(
          makeCase(name, {{tokens}, {tokens, columns}, {entries, columns}}, {{"padding_idx", padding}}));
      fill(out.back().operands[0], [entries = entries] { return double(integer(-1, entries)); });
      out.back().absolute = double((tokens + 1) * (tokens + 1)) * 0x1p-24;
    }
  return withTensorRank(std::move(out), 2);
}

const TableEntry kTable[] = {{"embedding", embeddingOf}, {"embedding_grad", embeddingGradOf}};

} // namespace

std::span<const TableEntry> embeddingCases() {
  return kTable;
}

} // namespace stagewright::kernels
