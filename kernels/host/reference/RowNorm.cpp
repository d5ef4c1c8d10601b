// Family row_norm.
#include "kernels/host/reference/Values.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace stagewright::kernels {

namespace {

/// One row of an operand.
double *rowOf(const Values &v, std::size_t operand, std::int64_t row) {
  return v[operand].data() + row * v.size(0, 1);
}

/// The mean of f(i) over the columns.
template <typename Function>
double meanOf(const Values &v, const Function &f) {
  double sum = 0;
  for (std::int64_t i = 0; i < v.size(0, 1); ++i)
    sum += f(i);
  return sum / double(v.size(0, 1));
}

double valueOr(const Values &v, std::size_t operand, std::int64_t i, double otherwise) {
  return v.has(operand) ? v[operand][std::size_t(i)] : otherwise;
}

void layerNorm(const Values &v) {
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const double *x = rowOf(v, 0, row);
    const double mean = meanOf(v, [&](auto i) { return x[i]; });
    const double variance = meanOf(v, [&](auto i) { return (x[i] - mean) * (x[i] - mean); });
    const double rstd = 1 / std::sqrt(variance + v.real("epsilon"));
    for (std::int64_t i = 0; i < v.size(0, 1); ++i)
      rowOf(v, 1, row)[i] = (x[i] - mean) * rstd * valueOr(v, 4, i, 1) + valueOr(v, 5, i, 0);
    v[2][std::size_t(row)] = mean;
    v[3][std::size_t(row)] = rstd;
  }
}

void rmsNorm(const Values &v) {
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const double *x = rowOf(v, 0, row);
    const double rstd = 1 / std::sqrt(meanOf(v, [&](auto i) { return x[i] * x[i]; }) + v.real("epsilon"));
    for (std::int64_t i = 0; i < v.size(0, 1); ++i)
      rowOf(v, 1, row)[i] = x[i] * rstd * valueOr(v, 3, i, 1);
    v[2][std::size_t(row)] = rstd;
  }
}

/// `centred`: of layer_norm, which has the operand mean.
void inputGrad(const Values &v, bool centred) {
  const std::size_t shift = centred ? 1 : 0;
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const double mean = centred ? v[2][std::size_t(row)] : 0, rstd = v[2 + shift][std::size_t(row)];
    const auto g = [&](auto i) { return rowOf(v, 0, row)[i] * valueOr(v, 4 + shift, i, 1); };
    const auto normalized = [&](auto i) { return (rowOf(v, 1, row)[i] - mean) * rstd; };
    const double offset = centred ? meanOf(v, g) : 0;
    const double slope = meanOf(v, [&](auto i) { return g(i) * normalized(i); });
    for (std::int64_t i = 0; i < v.size(0, 1); ++i)
      rowOf(v, 3 + shift, row)[i] = rstd * (g(i) - offset - normalized(i) * slope);
  }
}

void weightGrad(const Values &v, bool centred) {
  const std::size_t shift = centred ? 1 : 0;
  for (std::int64_t row = 0; row < v.size(0, 0); ++row)
    for (std::int64_t i = 0; i < v.size(0, 1); ++i) {
      const double mean = centred ? v[2][std::size_t(row)] : 0, rstd = v[2 + shift][std::size_t(row)];
      v[3 + shift][std::size_t(i)] += rowOf(v, 0, row)[i] * (rowOf(v, 1, row)[i] - mean) * rstd;
    }
}

double sumOf(const Values &v, const std::function<double(std::int64_t)> &f) {
  return meanOf(v, f) * double(v.size(0, 1));
}

void normalize(const Values &v) {
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const double *x = rowOf(v, 0, row);
    const double norm = std::sqrt(sumOf(v, [&](auto i) { return x[i] * x[i]; }));
    for (std::int64_t i = 0; i < v.size(0, 1); ++i)
      rowOf(v, 1, row)[i] = x[i] / std::max(norm, v.real("epsilon"));
    v[2][std::size_t(row)] = norm;
  }
}

void normalizeGrad(const Values &v) {
  for (std::int64_t row = 0; row < v.size(0, 0); ++row) {
    const double *g = rowOf(v, 0, row), *x = rowOf(v, 1, row);
    const double norm = v[2][std::size_t(row)], divisor = std::max(norm, v.real("epsilon"));
    const double slope =
        norm < v.real("epsilon") ? 0 : sumOf(v, [&](auto i) { return g[i] * x[i]; }) / (divisor * divisor);
    for (std::int64_t i = 0; i < v.size(0, 1); ++i)
      rowOf(v, 3, row)[i] = (g[i] - x[i] * slope) / divisor;
  }
}

constexpr ReferenceEntry kEntries[] = {
    {"layer_norm", layerNorm},
    {"layer_norm_grad", [](const Values &v) { inputGrad(v, true); }},
    {"layer_norm_weight_grad", [](const Values &v) { weightGrad(v, true); }},
    {"rms_norm", rmsNorm},
    {"rms_norm_grad", [](const Values &v) { inputGrad(v, false); }},
    {"rms_norm_weight_grad", [](const Values &v) { weightGrad(v, false); }},
    {"normalize", normalize},
    {"normalize_grad", normalizeGrad},
};

} // namespace

ReferenceTable rowNormReferences() {
  return kEntries;
}

} // namespace stagewright::kernels
