#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

struct Product {
  std::int64_t m, k, n;
};

/// Odd sizes, sizes around the tiles (112 x 256), the chunk (128), several chunks, and random ones.
std::vector<Product> products() {
  std::vector<Product> out = {{1, 1, 1},       {3, 10, 17},   {1, 784, 10},    {16, 784, 256}, {17, 31, 33},
                              {33, 100, 31},   {15, 401, 65}, {130, 33, 290},  {29, 1025, 40}, {5, 2100, 35},
                              {113, 257, 100}, {300, 8, 8},   {31, 1024, 300}, {6, 40, 1030},  {9, 129, 20}};
  for (int i = 0; i < 12; ++i)
    out.push_back({integer(1, 70), integer(1, 120), integer(1, 120)});
  return out;
}

Cases packCases(std::string_view name) {
  Cases out;
  for (const char *round : {"f32", "f16", "bf16"})
    for (const auto &[m, k, n] : products())
      out.push_back(makeCase(name,
                             {{n, k},
                              {name == "pack_linear_forward" ? catalogue::packedElements(k, n)
                                                             : catalogue::packedElements(n, k)}},
                             {{"round", std::string(round)}}));
  return out;
}

/// Padding is NaN: nothing of it may reach a result.
void spoilPadding(Buffer &packed, std::int64_t depth, std::int64_t columns) {
  Buffer clean = packed;
  fill(packed, [] { return std::nan(""); });
  for (std::int64_t step = 0; step < depth; ++step)
    for (std::int64_t column = 0; column < columns; ++column) {
      const std::int64_t i = packedIndex(depth, columns, step, column);
      packed.set(i, clean.at(i));
    }
}

Cases packedProductCases(std::string_view name) {
  Cases out;
  for (const auto &[m, k, n] : products())
    for (bool bias : {false, true}) {
      std::vector<Shape> shapes = {{m, k}, {catalogue::packedElements(k, n)}, {m, n}};
      if (bias && name != "linear")
        continue;
      if (bias)
        shapes.push_back({n});
      KernelCase one = makeCase(name, shapes);
      spoilPadding(one.operands[1], k, n);
      one.absolute = 0x1p-23 * double(k + 2);
      out.push_back(std::move(one));
    }
  return out;
}

/// Version 2: weight [N, K].
Cases plainProductCases(std::string_view name) {
  const bool isForward = name == "linear";
  Cases out;
  for (const auto &[m, k, n] : products())
    for (bool bias : {false, true}) {
      std::vector<Shape> shapes = {{m, isForward ? k : n}, {n, k}, {m, isForward ? n : k}};
      if (bias && !isForward)
        continue;
      if (bias)
        shapes.push_back({n});
      out.push_back(makeCase(name, shapes, {}, 2));
      out.back().absolute = 0x1p-23 * double((isForward ? k : n) + 2);
    }
  return out;
}

Cases weightGradCases(std::string_view name) {
  Cases out;
  for (const auto &[k, m, n] : products()) {
    out.push_back(makeCase(name, {{m, n}, {m, k}, {n, k}}));
    out.back().absolute = 0x1p-23 * double(m + 2);
  }
  return out;
}

Cases biasGradCases(std::string_view name) {
  Cases out;
  for (const auto &[m, k, n] : products()) {
    out.push_back(makeCase(name, {{m * 3, n}, {n}}));
    out.back().absolute = 0x1p-23 * double(3 * m + 2);
  }
  out.push_back(makeCase(name, {{1000, 97}, {97}}));
  out.back().absolute = 1e-4;
  return out;
}

Cases matmulCases(std::string_view name) {
  Cases out;
  std::int64_t batches = 1;
  for (const auto &[m, k, n] : products()) {
    batches = m * k * n > 500000 ? 1 : batches % 7 + 1;
    const Shape a = name == "matmul_tn" ? Shape{batches, k, m} : Shape{batches, m, k},
                b = name == "matmul_nt" ? Shape{batches, n, k} : Shape{batches, k, n};
    out.push_back(makeCase(name, {a, b, {batches, m, n}}));
    out.back().absolute = 0x1p-23 * double(k + 2);
  }
  return out;
}

const TableEntry kTable[] = {
    {"pack_linear_forward", packCases},
    {"pack_linear_input_grad", packCases},
    {"linear", packedProductCases},
    {"linear_input_grad", packedProductCases},
    {"linear", plainProductCases, 2},
    {"linear_input_grad", plainProductCases, 2},
    {"linear_weight_grad", weightGradCases},
    {"bias_grad", biasGradCases},
    {"matmul", matmulCases},
    {"matmul_nt", matmulCases},
    {"matmul_tn", matmulCases},
};

} // namespace

std::span<const TableEntry> linearCases() {
  return kTable;
}

} // namespace stagewright::kernels
