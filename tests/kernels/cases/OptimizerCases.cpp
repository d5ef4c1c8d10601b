#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

Cases normCases(std::string_view name) {
  Cases out;
  for (const Shape &shape :
       {Shape{1}, Shape{10, 10}, Shape{16384}, Shape{16385}, Shape{300, 300}, Shape{32768}}) {
    out.push_back(makeCase(name, {shape, {catalogue::granules(catalogue::elements(shape))}}));
    out.back().relative = 1e-13;
  }
  return out;
}

Cases clipCases(std::string_view name) {
  Cases out;
  for (double bound : {0.0, 0.5, 1.0, 1e9})
    for (std::int64_t count : {1, 5, 1000})
      for (double lossScale : {0.0, 1.0, 4096.0}) { // 0: without
        std::vector<Shape> shapes{{count}, {1}, {1}};
        if (lossScale != 0)
          shapes.push_back({1});
        out.push_back(makeCase(name, shapes, {{"max_norm", bound}, {"skip", std::int64_t(count == 5)}}));
        fill(out.back().operands[0], [] { return uniform(0, 4); });
        if (lossScale != 0)
          out.back().operands[3].set(0, lossScale);
        out.back().relative = 1e-7;
      }
  return out;
}

/// learning_rate, coefficient and what else is not drawn from [-1, 1].
void setScalars(KernelCase &one, double coefficient) {
  one.operands[2].set(0, 0.0625);
  one.operands[3].set(0, coefficient);
  one.absolute = one.relative = 3e-7;
}

Cases sgdCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (int step : {1, 2})
      for (int variant = 0; variant < 4; ++variant) {
        std::vector<Shape> shapes = {shape, shape, {1}, {1}, {1}};
        std::vector<catalogue::Attribute> attributes;
        if (variant > 0)
          attributes.push_back({"weight_decay", 0.01});
        if (variant > 1) {
          shapes.push_back(shape);
          attributes.push_back({"momentum", 0.9});
          attributes.push_back({"nesterov", std::int64_t(variant == 3)});
          attributes.push_back({"dampening", variant == 3 ? 0.0 : 0.1});
        }
        out.push_back(makeCase(name, shapes, attributes));
        setScalars(out.back(), variant == 1 ? 1.0 : 0.3);
        out.back().operands[4].set(0, step);
      }
  return out;
}

/// And the same cases with a first beta that is not the attribute.
Cases withFirstBeta(Cases cases) {
  Cases out = cases;
  for (const KernelCase &one : cases) {
    std::vector<Shape> shapes = one.instance.shapes;
    shapes.push_back({1});
    out.push_back(makeCase(one.instance.kernel->name, shapes, one.instance.attributes));
    KernelCase &cycled = out.back();
    for (std::size_t i = 0; i < one.operands.size(); ++i)
      cycled.operands[i] = one.operands[i];
    cycled.operands.back().set(0, 0.84375);
    cycled.absolute = one.absolute;
    cycled.relative = one.relative;
  }
  return out;
}

Cases adamCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (int variant = 0; variant < 4; ++variant) {
      out.push_back(makeCase(name, {shape, shape, {1}, {1}, {2}, shape, shape},
                             {{"weight_decay", variant / 2 * 0.1},
                              {"decoupled", std::int64_t(variant % 2)},
                              {"beta1", variant == 3 ? 0.75 : 0.9},
                              {"beta2", variant == 3 ? 0.95 : 0.999},
                              {"epsilon", variant == 3 ? 1e-3 : 1e-8}}));
      KernelCase &one = out.back();
      setScalars(one, variant == 1 ? 1.0 : 0.3);
      const int step = variant + 1;
      one.operands[4].set(0, 1 - std::pow(0.9, step));
      one.operands[4].set(1, 1 - std::pow(0.999, step));
      fill(one.operands[6], [] { return uniform(0, 1); });
      one.absolute = 1e-6; // the step is up to 0.0625 * 10
    }
  return out;
}

Cases lionCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (double decay : {0.0, 0.1}) {
      out.push_back(makeCase(
          name, {shape, shape, {1}, {1}, shape},
          {{"weight_decay", decay}, {"beta1", decay == 0 ? 0.9 : 0.75}, {"beta2", decay == 0 ? 0.99 : 0.9}}));
      setScalars(out.back(), 0.3);
      KernelCase &one = out.back();
      for (std::int64_t i = 0; i < one.operands[0].elements; ++i) {
        // No direction so close to zero that its sign is a matter of rounding; every seventh one is zero.
        const double m = i % 7 == 0 ? 0.0 : one.operands[4].at(i) + (one.operands[4].at(i) > 0 ? 0.1 : -0.1);
        one.operands[4].set(i, m);
        one.operands[1].set(i, m * uniform(0, 2));
      }
    }
  return out;
}

Cases adagradCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (int step : {1, 3}) {
      out.push_back(
          makeCase(name, {shape, shape, {1}, {1}, {1}, shape},
                   {{"weight_decay", step == 1 ? 0.0 : 0.1}, {"lr_decay", 0.25}, {"epsilon", 1e-3}}));
      setScalars(out.back(), 0.3);
      out.back().operands[4].set(0, step);
      fill(out.back().operands[5], [step] { return step == 1 ? 0.0 : uniform(0, 1); });
    }
  return out;
}

Cases lambCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (int variant = 0; variant < 4; ++variant) {
      out.push_back(makeCase(name, {shape, shape, {1}, {1}, {2}, shape, shape},
                             {{"weight_decay", variant == 1 ? 0.1 : 0.0},
                              {"beta1", variant == 1 ? 0.75 : 0.9},
                              {"beta2", variant == 1 ? 0.95 : 0.999},
                              {"max_coeff", variant == 2 ? 0.05 : 10.0},
                              {"min_coeff", variant == 1 ? 3.0 : 0.01},
                              {"epsilon", 1e-3}}));
      KernelCase &one = out.back();
      setScalars(one, 0.3);
      one.operands[4].set(0, 1 - std::pow(0.9, variant + 1));
      one.operands[4].set(1, 1 - std::pow(0.999, variant + 1));
      fill(one.operands[6], [] { return uniform(0.01, 1); });
      if (variant == 3)
        fill(one.operands[0], [] { return 0.0; }); // a norm of 0: the ratio is 1
      one.absolute = 1e-6;
    }
  return out;
}

const TableEntry kTable[] = {
    {"gradient_norm_partials", normCases},
    {"clip_coefficient", clipCases},
    {"sgd", sgdCases},
    {"adam", [](std::string_view name) { return withFirstBeta(adamCases(name)); }},
    {"lion", [](std::string_view name) { return withFirstBeta(lionCases(name)); }},
    {"adagrad", adagradCases},
    {"lamb", [](std::string_view name) { return withFirstBeta(lambCases(name)); }},
};

} // namespace

std::span<const TableEntry> optimizerCases() {
  return kTable;
}

} // namespace stagewright::kernels
