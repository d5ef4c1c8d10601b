// Family linear.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace stagewright::kernels {

namespace {

/// to[rows, columns] = (or +=) sum over depth of left(row, step) * right(step, column).
template <typename Left, typename Right>
void multiply(std::vector<double> &to, std::int64_t rows, std::int64_t depth, std::int64_t columns,
              const Left &left, const Right &right, bool add) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t column = 0; column < columns; ++column) {
      double sum = 0;
      for (std::int64_t step = 0; step < depth; ++step)
        sum += left(row, step) * right(step, column);
      double &out = to[std::size_t(row * columns + column)];
      out = add ? out + sum : sum;
    }
}

/// to[step, column] of a packed matrix = at(step, column); padding is zero.
template <typename At>
void pack(std::vector<double> &to, std::int64_t depth, std::int64_t columns, const At &at) {
  std::ranges::fill(to, 0.0);
  for (std::int64_t step = 0; step < depth; ++step)
    for (std::int64_t column = 0; column < columns; ++column)
      to[std::size_t(packedIndex(depth, columns, step, column))] = at(step, column);
}

/// What a weight becomes before it is packed.
double rounded(const Values &v, double weight) {
  if (v.text("round") == "f16")
    return double(_Float16(float(weight)));
  if (v.text("round") == "f32")
    return weight;
  int exponent = 0; // bf16: 8 bits
  const double fraction = std::frexp(weight, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

void packLinearForward(const Values &v) {
  const std::int64_t outputs = v.size(0, 0), inputs = v.size(0, 1);
  pack(v[1], inputs, outputs,
       [&](auto step, auto column) { return rounded(v, v[0][std::size_t(column * inputs + step)]); });
}

void packLinearInputGrad(const Values &v) {
  const std::int64_t outputs = v.size(0, 0), inputs = v.size(0, 1);
  pack(v[1], outputs, inputs,
       [&](auto step, auto column) { return rounded(v, v[0][std::size_t(step * inputs + column)]); });
}

/// y = x times the matrix whose element (step, column) is weight(step, column), and the bias.
template <typename Weight>
void product(const Values &v, const Weight &weight) {
  const std::int64_t rows = v.size(0, 0), depth = v.size(0, 1), columns = v.size(2, 1);
  multiply(
      v[2], rows, depth, columns, [&](auto row, auto step) { return v[0][std::size_t(row * depth + step)]; },
      weight, false);
  for (std::int64_t i = 0; v.has(3) && i < rows * columns; ++i)
    v[2][std::size_t(i)] += v[3][std::size_t(i % columns)];
}

/// linear and linear_input_grad.
void packedProduct(const Values &v) {
  const std::int64_t depth = v.size(0, 1), columns = v.size(2, 1);
  product(v, [&](auto step, auto column) {
    return v[1][std::size_t(packedIndex(depth, columns, step, column))];
  });
}

/// Version 2, whose weight is [N, K].
void linearPlain(const Values &v) {
  const std::int64_t inputs = v.size(1, 1);
  product(v, [&](auto step, auto column) { return v[1][std::size_t(column * inputs + step)]; });
}

void linearInputGradPlain(const Values &v) {
  const std::int64_t inputs = v.size(1, 1);
  product(v, [&](auto step, auto column) { return v[1][std::size_t(step * inputs + column)]; });
}

void linearWeightGrad(const Values &v) {
  const std::int64_t tokens = v.size(0, 0), outputs = v.size(0, 1), inputs = v.size(1, 1);
  multiply(
      v[2], outputs, tokens, inputs,
      [&](auto row, auto step) { return v[0][std::size_t(step * outputs + row)]; },
      [&](auto step, auto column) { return v[1][std::size_t(step * inputs + column)]; }, true);
}

void biasGrad(const Values &v) {
  for (std::size_t i = 0; i < v[0].size(); ++i)
    v[1][i % v[1].size()] += v[0][i];
}

/// y[batch, row, column] = sum over steps of a times b; each stored with steps last or, StepsFirst, before.
template <bool StepsFirstA, bool StepsFirstB>
void matmul(const Values &v) {
  const std::int64_t batches = v.size(2, 0), rows = v.size(2, 1), columns = v.size(2, 2);
  const std::int64_t depth = v.size(0, StepsFirstA ? 1 : 2);
  for (std::int64_t i = 0; i < batches * rows * columns; ++i) {
    const std::int64_t batch = i / (rows * columns), row = i / columns % rows, column = i % columns;
    double sum = 0;
    for (std::int64_t step = 0; step < depth; ++step)
      sum +=
          v[0][std::size_t(batch * rows * depth + (StepsFirstA ? step * rows + row : row * depth + step))] *
          v[1][std::size_t(batch * columns * depth +
                           (StepsFirstB ? step * columns + column : column * depth + step))];
    v[2][std::size_t(i)] = sum;
  }
}

constexpr ReferenceEntry kEntries[] = {
    {"pack_linear_forward", packLinearForward},
    {"pack_linear_input_grad", packLinearInputGrad},
    {"linear", packedProduct},
    {"linear_input_grad", packedProduct},
    {"linear", linearPlain, 2},
    {"linear_input_grad", linearInputGradPlain, 2},
    {"linear_weight_grad", linearWeightGrad},
    {"bias_grad", biasGrad},
    {"matmul", matmul<false, true>},
    {"matmul_nt", matmul<false, false>},
    {"matmul_tn", matmul<true, true>},
};

} // namespace

ReferenceTable linearReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
