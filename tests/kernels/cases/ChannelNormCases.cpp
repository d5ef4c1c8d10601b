#include "CaseBuilding.h"

#include <algorithm>

namespace stagewright::kernels {

namespace {

/// [N,C,S]: sizes of 1, around a vector, around the 1024 elements whose sum is kept in floats, around a tile,
/// and of several chunks (on CUDA); S = 1 has code of its own.
std::vector<Shape> channelShapes() {
  std::vector<Shape> out = {{1, 4, 1},     {2, 1, 3},    {5, 6, 1},   {3, 16, 1},   {70, 40, 1},
                            {2, 8, 16},    {3, 6, 49},   {1, 12, 1},  {4, 2, 1024}, {2, 2, 1025},
                            {2, 3, 5000},  {40, 48, 23}, {1, 1, 100}, {600, 70, 1}, {1, 2, 40000},
                            {40, 3, 1000}, {5000, 5, 1}};
  for (int i = 0; i < 6; ++i)
    out.push_back({integer(2, 9), integer(1, 40), integer(2, 90)});
  return out;
}

std::int64_t countOfGroups(std::int64_t channels, std::int64_t wanted) {
  while (channels % wanted != 0)
    --wanted;
  return wanted;
}

/// One case for each shape and number of optional operands, with operands as `shapes` says.
template <typename Shapes>
Cases normCases(std::string_view name, const Shapes &shapes, std::size_t required) {
  Cases out;
  for (const Shape &shape : channelShapes()) {
    const std::vector<Shape> all = shapes(shape);
    for (std::size_t count = required; count <= all.size(); ++count) {
      out.push_back(makeCase(name, {all.begin(), all.begin() + std::ptrdiff_t(count)}));
      KernelCase &one = out.back();
      const auto &rules = one.instance.kernel->operands;
      const auto &declared = one.instance.kernel->attributes;
      if (out.size() % 4 == 0 &&
          std::ranges::find(declared, "epsilon", &catalogue::AttributeRule::name) != declared.end())
        one.instance.attributes.push_back({"epsilon", 0.125});
      for (std::size_t i = 0; i < count; ++i)
        if (rules[i].access == catalogue::Access::Read &&
            (rules[i].name == "variance" || rules[i].name == "running_var" || rules[i].name == "rstd"))
          fill(one.operands[i], [] { return uniform(0.1, 2); });
      // The reciprocal root of a variance near 0 is up to 316.
      const std::int64_t elements = shape[0] * shape[2];
      one.absolute = elements < 10 ? 1e-4 : 1e-5;
      one.relative = 1e-6;
      if (name.ends_with("_weight_grad") || name == "channel_bias_grad")
        one.absolute = 2e-6 * std::sqrt(double(elements)) + 0x1p-22 * double(shape[0]);
    }
  }
  return out;
}

Cases batchNormCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        const Shape c{x[1]};
        return std::vector<Shape>{x, x, c, c, c, c};
      },
      4);
}

Cases inferenceCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        const Shape c{x[1]};
        return std::vector<Shape>{x, c, c, x, c, c};
      },
      4);
}

Cases batchGradCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        const Shape c{x[1]};
        return std::vector<Shape>{x, x, c, c, x, c};
      },
      5);
}

Cases batchWeightGradCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        const Shape c{x[1]};
        return std::vector<Shape>{x, x, c, c, c};
      },
      5);
}

Cases biasGradCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        return std::vector<Shape>{x, {x[1]}};
      },
      2);
}

Cases updateCases(std::string_view name) {
  Cases out;
  for (std::int64_t channels : {1, 16, 37, 33000})
    for (double momentum : {0.1, 1.0, -1.0}) {
      const Shape c{channels};
      out.push_back(
          makeCase(name, {c, c, c, c, {1}}, {{"momentum", momentum}, {"count", std::int64_t(2 + channels)}}));
      out.back().operands[4].set(0, double(channels));
      out.back().relative = 1e-6;
      out.back().absolute = 1e-6;
    }
  return out;
}

/// Cases of 1, 2, 3, ... replicas; operand `rows` is [replicas, 2, C].
template <typename Shapes>
Cases syncCases(std::string_view name, const Shapes &shapes, std::size_t rows, std::size_t required) {
  std::int64_t number = 0;
  Cases out = normCases(
      name,
      [&](const Shape &x) {
        return shapes(x, Shape{number++ % 5 + 1, 2, x[1]});
      },
      required);
  for (KernelCase &one : out) {
    const Shape &shape = one.instance.shapes[rows];
    if (one.instance.kernel->operands[rows].name == "moments")
      for (std::int64_t i = 0; i < catalogue::elements(shape); ++i)
        if (i / shape[2] % 2 == 1) // the rows of variances
          one.operands[rows].set(i, uniform(0.1, 2));
  }
  return out;
}

Cases syncNormCases(std::string_view name) {
  return syncCases(
      name,
      [](const Shape &x, const Shape &moments) {
        const Shape c{x[1]};
        return std::vector<Shape>{x, moments, x, c, c, c, c};
      },
      1, 5);
}

Cases syncGradCases(std::string_view name) {
  return syncCases(
      name,
      [](const Shape &x, const Shape &means) {
        const Shape c{x[1]};
        return std::vector<Shape>{x, x, c, c, means, x, c};
      },
      4, 6);
}

Cases momentsCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        return std::vector<Shape>{x, {2, x[1]}};
      },
      2);
}

Cases gradientMeansCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        return std::vector<Shape>{x, x, {x[1]}, {2, x[1]}};
      },
      4);
}

Cases groupNormCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        const Shape c{x[1]}, groups{x[0], countOfGroups(x[1], 4)};
        return std::vector<Shape>{x, x, groups, groups, c, c};
      },
      4);
}

Cases groupGradCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        const Shape c{x[1]}, groups{x[0], countOfGroups(x[1], 3)};
        return std::vector<Shape>{x, x, groups, groups, x, c};
      },
      5);
}

Cases groupWeightGradCases(std::string_view name) {
  return normCases(
      name,
      [](const Shape &x) {
        const Shape groups{x[0], countOfGroups(x[1], 2)};
        return std::vector<Shape>{x, x, groups, groups, {x[1]}};
      },
      5);
}

const TableEntry kTable[] = {
    {"batch_norm", batchNormCases},
    {"batch_norm_update", updateCases},
    {"batch_norm_inference", inferenceCases},
    {"batch_norm_grad", batchGradCases},
    {"batch_norm_weight_grad", batchWeightGradCases},
    {"channel_bias_grad", biasGradCases},
    {"channel_moments", momentsCases},
    {"sync_batch_norm", syncNormCases},
    {"channel_gradient_means", gradientMeansCases},
    {"sync_batch_norm_grad", syncGradCases},
    {"group_norm", groupNormCases},
    {"group_norm_grad", groupGradCases},
    {"group_norm_weight_grad", groupWeightGradCases},
};

} // namespace

std::span<const TableEntry> channelNormCases() {
  return kTable;
}

} // namespace stagewright::kernels
