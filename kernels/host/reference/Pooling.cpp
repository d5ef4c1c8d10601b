// Family pooling.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stagewright::kernels {

namespace {

/// Calls body(element of the output, plane, row, column) for each element of operand `operand`, [N,C,Y,X].
template <typename Body>
void eachOutput(const Values &v, std::size_t operand, const Body &body) {
  std::int64_t i = 0;
  for (std::int64_t plane = 0; plane < v.size(operand, 0) * v.size(operand, 1); ++plane)
    for (std::int64_t row = 0; row < v.size(operand, 2); ++row)
      for (std::int64_t column = 0; column < v.size(operand, 3); ++column)
        body(std::size_t(i++), plane, row, column);
}

/// Calls body(row, column) for the elements of a window that lie in an image of height x width.
template <typename Body>
void eachTap(const Values &v, std::int64_t height, std::int64_t width, std::int64_t outputRow,
             std::int64_t outputColumn, bool dilated, const Body &body) {
  const auto kernel = v.list("kernel"), stride = v.list("stride"), padding = v.list("padding");
  const auto dilation = dilated ? v.list("dilation") : std::vector<std::int64_t>{1, 1};
  for (std::int64_t i = 0; i < kernel[0]; ++i)
    for (std::int64_t j = 0; j < kernel[1]; ++j) {
      const std::int64_t row = outputRow * stride[0] - padding[0] + i * dilation[0],
                         column = outputColumn * stride[1] - padding[1] + j * dilation[1];
      if (row >= 0 && row < height && column >= 0 && column < width)
        body(row, column);
    }
}

void maxPool(const Values &v) {
  const std::int64_t height = v.size(0, 2), width = v.size(0, 3);
  eachOutput(v, 1, [&](auto i, auto plane, auto row, auto column) {
    v[1][i] = -std::numeric_limits<double>::infinity();
    v[2][i] = -1;
    eachTap(v, height, width, row, column, true, [&](auto y, auto x) {
      const double value = v[0][std::size_t((plane * height + y) * width + x)];
      if (v[2][i] < 0 || value > v[1][i] || std::isnan(value)) {
        v[1][i] = value;
        v[2][i] = double(y * width + x);
      }
    });
  });
}

void maxPoolGrad(const Values &v) {
  std::ranges::fill(v[2], 0.0);
  const std::int64_t size = v.size(2, 2) * v.size(2, 3);
  eachOutput(v, 0, [&](auto i, auto plane, auto, auto) {
    const std::int64_t at = std::int64_t(v[1][i]);
    if (at >= 0 && at < size)
      v[2][std::size_t(plane * size + at)] += v[0][i];
  });
}

/// What the sum of a window is divided by.
double divisor(const Values &v, std::int64_t height, std::int64_t width, std::int64_t row,
               std::int64_t column) {
  if (const std::int64_t override = v.integer("divisor_override"))
    return double(override);
  const auto kernel = v.list("kernel"), stride = v.list("stride"), padding = v.list("padding");
  const bool all = v.flag("count_include_pad");
  const auto elements = [&](std::size_t axis, std::int64_t output, std::int64_t size) {
    const std::int64_t begin = output * stride[axis] - padding[axis], end = begin + kernel[axis];
    return all ? std::min(end, size + padding[axis]) - begin
               : std::min(end, size) - std::max<std::int64_t>(begin, 0);
  };
  return double(elements(0, row, height) * elements(1, column, width));
}

void averagePool(const Values &v) {
  const std::int64_t height = v.size(0, 2), width = v.size(0, 3);
  eachOutput(v, 1, [&](auto i, auto plane, auto row, auto column) {
    double sum = 0;
    eachTap(v, height, width, row, column, false,
            [&](auto y, auto x) { sum += v[0][std::size_t((plane * height + y) * width + x)]; });
    v[1][i] = sum / divisor(v, height, width, row, column);
  });
}

void averagePoolGrad(const Values &v) {
  const std::int64_t height = v.size(1, 2), width = v.size(1, 3);
  std::ranges::fill(v[1], 0.0);
  eachOutput(v, 0, [&](auto i, auto plane, auto row, auto column) {
    const double share = v[0][i] / divisor(v, height, width, row, column);
    eachTap(v, height, width, row, column, false,
            [&](auto y, auto x) { v[1][std::size_t((plane * height + y) * width + x)] += share; });
  });
}

/// Calls body(element, count) for the elements of [N,C,height,width] that output (row, column) is the mean
/// of.
template <typename Body>
void eachAdaptive(std::int64_t plane, std::int64_t height, std::int64_t width, std::int64_t rows,
                  std::int64_t columns, std::int64_t row, std::int64_t column, const Body &body) {
  const std::int64_t top = row * height / rows, bottom = ((row + 1) * height + rows - 1) / rows;
  const std::int64_t left = column * width / columns, right = ((column + 1) * width + columns - 1) / columns;
  for (std::int64_t y = top; y < bottom; ++y)
    for (std::int64_t x = left; x < right; ++x)
      body(std::size_t((plane * height + y) * width + x), double((bottom - top) * (right - left)));
}

void adaptivePool(const Values &v) {
  eachOutput(v, 1, [&](auto i, auto plane, auto row, auto column) {
    v[1][i] = 0;
    eachAdaptive(plane, v.size(0, 2), v.size(0, 3), v.size(1, 2), v.size(1, 3), row, column,
                 [&](auto k, auto count) { v[1][i] += v[0][k] / count; });
  });
}

void adaptivePoolGrad(const Values &v) {
  std::ranges::fill(v[1], 0.0);
  eachOutput(v, 0, [&](auto i, auto plane, auto row, auto column) {
    eachAdaptive(plane, v.size(1, 2), v.size(1, 3), v.size(0, 2), v.size(0, 3), row, column,
                 [&](auto k, auto count) { v[1][k] += v[0][i] / count; });
  });
}

constexpr ReferenceEntry kEntries[] = {
    {"max_pool2d", maxPool},
    {"max_pool2d_grad", maxPoolGrad},
    {"avg_pool2d", averagePool},
    {"avg_pool2d_grad", averagePoolGrad},
    {"adaptive_avg_pool2d", adaptivePool},
    {"adaptive_avg_pool2d_grad", adaptivePoolGrad},
};

} // namespace

ReferenceTable poolingReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
