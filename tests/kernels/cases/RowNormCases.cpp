#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

std::vector<Shape> without(std::vector<Shape> shapes, std::size_t optional) {
  shapes.resize(shapes.size() - optional);
  return shapes;
}

/// Rows and columns of many sizes, with all optional operands, and with fewer of them.
Cases normCases(std::string_view name,
                const std::function<std::vector<Shape>(std::int64_t, std::int64_t)> &shapes,
                std::size_t optional, double absolute, double relative) {
  Cases out = rowCases(name, shapes);
  for (const auto &[rows, columns] : {std::pair{64, 768}, {3, 63}, {5, 64}, {5, 65}, {2, 129}})
    for (std::size_t missing = 0; missing <= optional; ++missing) {
      out.push_back(makeCase(name, without(shapes(rows, columns), missing)));
      fill(out.back().operands[0], [] { return uniform(-3, 4); });
    }
  for (KernelCase &one : out) {
    one.absolute = absolute;
    one.relative = relative;
    for (std::size_t i = 0; i < one.operands.size(); ++i)
      if (const auto &rule = one.instance.kernel->operands[i];
          rule.name == "rstd" && rule.access == catalogue::Access::Read)
        fill(one.operands[i], [] { return uniform(0.25, 2); });
  }
  return out;
}

Cases layerNormCases(std::string_view name) {
  Cases out = normCases(
      name,
      [](auto m, auto n) {
        return std::vector<Shape>{{m, n}, {m, n}, {m}, {m}, {n}, {n}};
      },
      2, 2e-6, 1e-6);
  out.push_back(makeCase(name, {{4, 50}, {4, 50}, {4}, {4}}, {{"epsilon", 0.5}}));
  out.back().absolute = out.back().relative = 1e-6;
  // A mean that is large against the deviation: digits of x are lost, not those of the deviation.
  out.push_back(makeCase(name, {{4, 300}, {4, 300}, {4}, {4}, {300}, {300}}));
  fill(out.back().operands[0], [] { return 1000 + uniform(-1, 1); });
  out.back().absolute = 2e-4;
  out.back().relative = 1e-6;
  return out;
}

Cases layerNormGradCases(std::string_view name) {
  return normCases(
      name,
      [](auto m, auto n) {
        return std::vector<Shape>{{m, n}, {m, n}, {m}, {m}, {m, n}, {n}};
      },
      1, 1e-5, 1e-6);
}

Cases rmsNormCases(std::string_view name) {
  Cases out = normCases(
      name,
      [](auto m, auto n) {
        return std::vector<Shape>{{m, n}, {m, n}, {m}, {n}};
      },
      1, 0, 1e-6);
  out.push_back(makeCase(name, {{4, 50}, {4, 50}, {4}}, {{"epsilon", 0.5}}));
  out.back().relative = 1e-6;
  return out;
}

Cases rmsNormGradCases(std::string_view name) {
  return normCases(
      name,
      [](auto m, auto n) {
        return std::vector<Shape>{{m, n}, {m, n}, {m}, {m, n}, {n}};
      },
      1, 1e-5, 1e-6);
}

/// A chain over the rows: its error grows with them.
Cases withRowError(Cases cases) {
  for (KernelCase &one : cases)
    one.absolute = 5 * 4 * double(one.instance.shapes[0][0] + 8) * 0x1p-24;
  return cases;
}

Cases layerNormWeightGradCases(std::string_view name) {
  return withRowError(normCases(
      name,
      [](auto m, auto n) {
        return std::vector<Shape>{{m, n}, {m, n}, {m}, {m}, {n}};
      },
      0, 0, 0));
}

Cases rmsNormWeightGradCases(std::string_view name) {
  return withRowError(normCases(
      name,
      [](auto m, auto n) {
        return std::vector<Shape>{{m, n}, {m, n}, {m}, {n}};
      },
      0, 0, 0));
}

/// A read norm is that of its row of x, as the gradient's formula needs.
Cases withNorms(Cases cases) {
  for (KernelCase &one : cases) {
    const std::int64_t columns = one.instance.shapes[1][1];
    for (std::int64_t row = 0; row < one.operands[2].elements; ++row) {
      double sum = 0;
      for (std::int64_t i = 0; i < columns; ++i)
        sum += one.operands[1].at(row * columns + i) * one.operands[1].at(row * columns + i);
      one.operands[2].set(row, std::sqrt(sum));
    }
  }
  return cases;
}

Cases normalizeCases(std::string_view name) {
  Cases out = normCases(
      name,
      [](auto m, auto n) {
        return std::vector<Shape>{{m, n}, {m, n}, {m}};
      },
      0, 0, 1e-6);
  // A row of zeros, and one below epsilon.
  out.push_back(makeCase(name, {{3, 20}, {3, 20}, {3}}, {{"epsilon", 0.5}}));
  for (std::int64_t i = 0; i < 40; ++i)
    out.back().operands[0].set(i, i < 20 ? 0 : 0.015625);
  out.back().relative = 1e-6;
  return out;
}

Cases normalizeGradCases(std::string_view name) {
  Cases out = normCases(
      name,
      [](auto m, auto n) {
        return std::vector<Shape>{{m, n}, {m, n}, {m}, {m, n}};
      },
      0, 1e-5, 1e-6);
  out.push_back(makeCase(name, {{3, 20}, {3, 20}, {3}, {3, 20}}, {{"epsilon", 1.0}}));
  for (std::int64_t i = 0; i < 40; ++i)
    out.back().operands[1].set(i, i < 20 ? 0 : 0.015625);
  out.back().absolute = out.back().relative = 1e-5;
  out = withNorms(std::move(out));
  for (KernelCase &one : out) // sums of products are as exact as their largest terms
    for (std::int64_t row = 0; row < one.operands[2].elements; ++row)
      one.absolute = std::max(one.absolute, 4e-6 / std::max(one.operands[2].at(row), 1e-2));
  return out;
}

const TableEntry kTable[] = {
    {"layer_norm", layerNormCases},
    {"layer_norm_grad", layerNormGradCases},
    {"layer_norm_weight_grad", layerNormWeightGradCases},
    {"rms_norm", rmsNormCases},
    {"rms_norm_grad", rmsNormGradCases},
    {"rms_norm_weight_grad", rmsNormWeightGradCases},
    {"normalize", normalizeCases},
    {"normalize_grad", normalizeGradCases},
};

} // namespace

std::span<const TableEntry> rowNormCases() {
  return kTable;
}

} // namespace stagewright::kernels
