#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

using List = std::vector<std::int64_t>;

struct Pool {
  Shape image;
  List kernel, stride, padding, dilation = {1, 1};
  bool cut = false; ///< the last window may be cut (ceil_mode)
};

Shape pooledShape(const Pool &pool) {
  Shape out = pool.image;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t padded = pool.image[2 + i] + 2 * pool.padding[i],
                       free = padded - (pool.kernel[i] - 1) * pool.dilation[i] - 1,
                       rounded = pool.cut ? free + pool.stride[i] - 1 : free;
    out[2 + i] = rounded / pool.stride[i] + 1;
    if (pool.cut && (out[2 + i] - 1) * pool.stride[i] >= pool.image[2 + i] + pool.padding[i])
      --out[2 + i];
  }
  return out;
}

/// Odd sizes, sizes of 1, around a vector and around a tile; windows that overlap, touch and leave gaps.
std::vector<Pool> pools(bool dilated) {
  std::vector<Pool> out = {{{1, 1, 1, 1}, {1, 1}, {1, 1}, {0, 0}},
                           {{2, 3, 7, 5}, {3, 2}, {1, 2}, {1, 1}},
                           {{1, 2, 16, 17}, {2, 2}, {2, 2}, {0, 0}},
                           {{2, 4, 13, 35}, {3, 3}, {2, 2}, {1, 1}},
                           {{1, 2, 9, 70}, {3, 3}, {1, 1}, {1, 1}},
                           {{1, 3, 20, 101}, {5, 4}, {3, 3}, {2, 2}},
                           {{2, 1, 11, 6}, {2, 1}, {4, 5}, {1, 0}},
                           {{1, 1, 5, 4}, {5, 4}, {1, 1}, {0, 0}},
                           {{4, 9, 33, 34}, {3, 3}, {2, 2}, {1, 1}},
                           {{1, 1, 2, 40}, {3, 3}, {2, 2}, {0, 1}, {1, 1}, true},
                           {{1, 2, 10, 32}, {3, 3}, {2, 4}, {1, 1}, {1, 1}, true},
                           {{2, 2, 6, 7}, {2, 2}, {2, 3}, {0, 0}, {1, 1}, true}};
  for (int i = 0; i < 6; ++i)
    out.push_back({{integer(1, 3), integer(1, 5), integer(5, 30), integer(5, 60)},
                   {integer(2, 5), integer(2, 5)},
                   {integer(1, 4), integer(1, 4)},
                   {integer(0, 1), integer(0, 1)},
                   {1, 1},
                   i % 2 == 0});
  if (dilated)
    out.push_back({{2, 2, 12, 40}, {3, 2}, {2, 1}, {2, 1}, {2, 3}});
  return out;
}

std::vector<catalogue::Attribute> attributesOf(const Pool &pool) {
  return {{"kernel", pool.kernel}, {"stride", pool.stride}, {"padding", pool.padding}};
}

/// Multiples of 1/8: many are equal, and halves hold them.
void fillCoarse(Buffer &buffer) {
  fill(buffer, [] { return double(integer(-20, 20)) / 8; });
}

Cases maxCases(std::string_view name) {
  Cases out;
  for (const Pool &pool : pools(true)) {
    const Shape pooled = pooledShape(pool);
    std::vector<catalogue::Attribute> attributes = attributesOf(pool);
    attributes.push_back({"dilation", pool.dilation});
    out.push_back(makeCase(name, {pool.image, pooled, pooled}, attributes));
    fillCoarse(out.back().operands[0]);
  }
  return out;
}

Cases maxGradCases(std::string_view name) {
  Cases out;
  for (Pool pool : pools(true)) {
    const Shape pooled = pooledShape(pool);
    out.push_back(makeCase(name, {pooled, pooled, pool.image}));
    const std::int64_t size = pool.image[2] * pool.image[3];
    fill(out.back().operands[1], [&] { return double(integer(-1, size)); }); // -1 and size are nowhere
    out.back().absolute = 1e-5;
  }
  // More than a band of scratch, and than a table of columns has.
  for (const Shape &image : {Shape{1, 2, 600, 500}, Shape{1, 2, 3, 9001}}) {
    out.push_back(makeCase(name, {{1, 2, 3, 50}, {1, 2, 3, 50}, image}));
    fill(out.back().operands[1], [&] { return double(integer(0, image[2] * image[3] - 1)); });
    out.back().absolute = 1e-5;
  }
  return out;
}

Cases averageCases(std::string_view name) {
  Cases out;
  for (const Pool &pool : pools(false))
    for (int variant = 0; variant < 3; ++variant) {
      const Shape pooled = pooledShape(pool);
      std::vector<catalogue::Attribute> attributes = attributesOf(pool);
      attributes.push_back({"count_include_pad", std::int64_t(variant != 1)});
      if (variant == 2)
        attributes.push_back({"divisor_override", std::int64_t(3)});
      const bool isGrad = name == "avg_pool2d_grad";
      out.push_back(makeCase(name, {isGrad ? pooled : pool.image, isGrad ? pool.image : pooled}, attributes));
      out.back().absolute = 1e-5;
    }
  return out;
}

Cases adaptiveCases(std::string_view name) {
  struct Adaptive {
    Shape image;
    std::int64_t rows, columns;
  };
  Cases out;
  for (const auto &[image, rows, columns] :
       {Adaptive{{1, 1, 1, 1}, 1, 1}, Adaptive{{2, 3, 7, 7}, 1, 1}, Adaptive{{2, 20, 9, 70}, 1, 1},
        Adaptive{{1, 2, 10, 33}, 3, 7}, Adaptive{{2, 2, 8, 6}, 4, 3}, Adaptive{{1, 3, 5, 4}, 7, 9},
        Adaptive{{1, 1, 12, 100}, 5, 1}, Adaptive{{1, 2, 60, 300}, 1, 2}, Adaptive{{5, 70, 11, 13}, 6, 6}}) {
    Shape pooled = image;
    pooled[2] = rows;
    pooled[3] = columns;
    const bool isGrad = name == "adaptive_avg_pool2d_grad";
    out.push_back(makeCase(name, {isGrad ? pooled : image, isGrad ? image : pooled}));
    out.back().absolute = 1e-6;
  }
  return out;
}

const TableEntry kTable[] = {
    {"max_pool2d", maxCases},
    {"max_pool2d_grad", maxGradCases},
    {"avg_pool2d", averageCases},
    {"avg_pool2d_grad", averageCases},
    {"adaptive_avg_pool2d", adaptiveCases},
    {"adaptive_avg_pool2d_grad", adaptiveCases},
};

} // namespace

std::span<const TableEntry> poolingCases() {
  return kTable;
}

} // namespace stagewright::kernels
