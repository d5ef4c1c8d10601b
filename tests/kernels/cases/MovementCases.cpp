#include "CaseBuilding.h"

#include <algorithm>

namespace stagewright::kernels {

namespace {

Shape randomShape(std::int64_t rank) {
  Shape out;
  for (std::int64_t i = 0; i < rank; ++i)
    out.push_back(integer(1, rank > 4 ? 4 : 20));
  return out;
}

Shape permuted(const Shape &x, const Shape &dims) {
  Shape out;
  for (std::int64_t dim : dims)
    out.push_back(x[std::size_t(dim)]);
  return out;
}

Cases permuteCases(std::string_view name) {
  std::vector<std::pair<Shape, Shape>> calls = {{{}, {}},
                                                {{1}, {0}},
                                                {{5}, {0}},
                                                {{3, 4}, {1, 0}},
                                                {{16, 16}, {1, 0}},
                                                {{17, 33}, {1, 0}},
                                                {{300, 257}, {1, 0}},
                                                {{1, 70000}, {1, 0}},
                                                {{2, 40, 3, 16}, {0, 2, 1, 3}},
                                                {{2, 129, 6, 64}, {0, 2, 1, 3}},
                                                {{2, 65, 3, 40}, {0, 2, 3, 1}},
                                                {{4, 3, 20, 21}, {0, 2, 3, 1}},
                                                {{4, 20, 21, 3}, {0, 3, 1, 2}},
                                                {{7, 1, 9, 5}, {3, 1, 0, 2}},
                                                {{2, 1, 3, 2, 1, 2, 3, 2}, {7, 6, 5, 4, 3, 2, 1, 0}}};
  for (int i = 0; i < 20; ++i) {
    Shape dims;
    for (std::int64_t k = 0, rank = integer(2, 6); k < rank; ++k)
      dims.push_back(k);
    std::ranges::shuffle(dims, engine());
    calls.emplace_back(randomShape(std::int64_t(dims.size())), dims);
  }
  Cases out;
  for (const auto &[x, dims] : calls)
    out.push_back(makeCase(name, {x, permuted(x, dims)}, {{"dims", dims}}));
  return out;
}

/// A whole, and the part of it that starts at `starts`.
struct Slice {
  Shape whole, part, starts;
};

Cases sliceCases(std::string_view name) {
  std::vector<Slice> slices = {{{}, {}, {}},
                               {{5}, {5}, {0}},
                               {{5}, {1}, {4}},
                               {{4, 6}, {4, 1}, {0, 5}},
                               {{4, 6}, {2, 6}, {1, 0}},
                               {{70000}, {50000}, {17}},
                               {{40, 3, 500}, {40, 1, 500}, {0, 2, 0}},
                               {{30, 2000}, {30, 1500}, {0, 333}},
                               {{3, 4, 5, 6}, {2, 2, 3, 1}, {1, 1, 0, 5}}};
  for (int i = 0; i < 20; ++i) {
    Slice random{randomShape(integer(1, 6)), {}, {}};
    for (std::int64_t size : random.whole) {
      random.starts.push_back(integer(0, 1) ? 0 : integer(0, size - 1));
      random.part.push_back(integer(0, 1) ? size - random.starts.back()
                                          : integer(1, size - random.starts.back()));
    }
    slices.push_back(random);
  }
  Cases out;
  for (const auto &[whole, part, starts] : slices) {
    const bool isGrad = name == "slice_grad";
    out.push_back(makeCase(name, {isGrad ? part : whole, isGrad ? whole : part}, {{"starts", starts}}));
    fill(out.back().operands[1], [] { return 7.0; }); // what was there does not stay
  }
  return out;
}

Cases concatCases(std::string_view name) {
  std::vector<std::tuple<Shape, std::int64_t, std::int64_t>> calls = {
      {{1}, 0, 1}, {{5, 3}, 0, 2}, {{5, 3}, 1, 17}, {{300, 65}, 1, 50}, {{40000}, 0, 3}, {{3, 1, 4}, 1, 1}};
  for (int i = 0; i < 12; ++i) {
    const std::int64_t rank = integer(1, 5);
    calls.emplace_back(randomShape(rank), integer(0, rank - 1), integer(1, 30));
  }
  Cases out;
  for (const auto &[a, dim, size] : calls) {
    Shape b = a, y = a;
    b[std::size_t(dim)] = size;
    y[std::size_t(dim)] += size;
    out.push_back(makeCase(name, {a, b, y}, {{"dim", dim}}));
  }
  return out;
}

/// A small shape and the larger one that it is broadcast to.
std::vector<std::pair<Shape, Shape>> broadcastPairs() {
  std::vector<std::pair<Shape, Shape>> out = {{{}, {}},
                                              {{}, {3, 4}},
                                              {{1}, {40000}},
                                              {{}, {2, 40000}},
                                              {{2, 1}, {2, 70001}},
                                              {{5}, {5}},
                                              {{1, 5}, {4, 5}},
                                              {{65}, {700, 65}},
                                              {{16}, {9000, 16}},
                                              {{300, 1}, {300, 130}},
                                              {{33, 1}, {33, 17}},
                                              {{8, 1, 30}, {8, 129, 30}},
                                              {{1, 7, 1}, {20, 7, 90}},
                                              {{4, 1, 1}, {4, 5, 3}},
                                              {{3, 1, 4, 1}, {3, 5, 4, 6}},
                                              {{2, 1, 3, 1, 2, 1, 1, 2}, {2, 2, 3, 2, 2, 3, 1, 2}}};
  for (int i = 0; i < 20; ++i) {
    const Shape large = randomShape(integer(1, 6));
    Shape small = large;
    for (std::int64_t &size : small)
      size = integer(0, 1) ? 1 : size;
    while (!small.empty() && small[0] == 1 && integer(0, 1))
      small.erase(small.begin());
    out.emplace_back(small, large);
  }
  return out;
}

Cases broadcastCases(std::string_view name) {
  const bool sums = name == "reduce_sum";
  Cases out;
  for (const auto &[small, large] : broadcastPairs())
    for (double scale : {1.0, -0.375}) {
      out.push_back(makeCase(name, {sums ? large : small, sums ? small : large}, {{"scale", scale}}));
      out.back().relative = sums ? 0x1p-23 : 0x1p-24;
      out.back().absolute = sums ? 1e-12 : 0; // of the sum in fp64
    }
  return out;
}

const TableEntry kTable[] = {
    {"permute", permuteCases}, {"slice", sliceCases},      {"slice_grad", sliceCases},
    {"concat", concatCases},   {"expand", broadcastCases}, {"reduce_sum", broadcastCases},
};

} // namespace

std::span<const TableEntry> movementCases() {
  return kTable;
}

} // namespace stagewright::kernels
