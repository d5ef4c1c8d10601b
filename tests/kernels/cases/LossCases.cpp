#include "CaseBuilding.h"

#include <algorithm>

namespace stagewright::kernels {

namespace {

/// Of each call a plain one, one with a smoothed target, and one that ignores about a third of the rows.
Cases withVariants(const Cases &plain, const std::function<void(KernelCase &, int)> &change) {
  Cases out;
  for (int variant : {0, 1, 2})
    for (KernelCase one : plain) {
      if (variant == 1)
        one.instance.attributes.push_back({"label_smoothing", 0.1});
      if (variant == 2) {
        one.instance.attributes.push_back({"ignore_index", std::int64_t(7)});
        for (std::int64_t row = 0; row < one.operands[1].elements; ++row)
          if (integer(0, 2) == 0)
            one.operands[1].set(row, 7);
      }
      change(one, variant);
      out.push_back(std::move(one));
    }
  return out;
}

/// Samples of two rows; too many for the call are all of them.
void inSamplesOfTwo(KernelCase &one) {
  one.instance.attributes.push_back({"rows_per_sample", std::int64_t(2)});
  one.operands[2].set(0, std::min(one.operands[2].at(0), double((one.operands[1].elements + 1) / 2)));
}

Cases crossEntropyCases(std::string_view name) {
  const Cases plain = rowCases(name, [](auto m, auto c) {
    return std::vector<Shape>{{m, c}, {m}, {1}, {1}, {m}, {1}};
  });
  return withVariants(plain, [](KernelCase &one, int variant) {
    one.absolute = one.relative = 1e-6;
    if (variant == 2)
      inSamplesOfTwo(one);
  });
}

/// Each case, and some with a loss scale.
Cases withLossScale(Cases plain, std::size_t every) {
  const std::size_t count = plain.size();
  for (std::size_t i = 0; i < count; i += every) {
    KernelCase one = plain[i];
    one.instance.shapes.push_back({1});
    one.operands.emplace_back(DType::F32, 1);
    one.operands.back().set(0, 1024);
    one.absolute *= 1024;
    plain.push_back(std::move(one));
  }
  return plain;
}

/// Gradients of cross entropy, whose operands from `sums` on are log-sum-exp and count.
Cases withSums(const Cases &plain, std::size_t sums) {
  Cases out = withVariants(plain, [sums](KernelCase &one, int variant) {
    fill(one.operands[sums], [] { return uniform(5, 7); });
    one.operands[sums + 1].set(0, one.operands[1].elements == 33 ? 0.0 : double(integer(1, 100)));
    one.instance.attributes.push_back({"scale", variant == 1 ? -3.5 : 0.0625});
    one.absolute = variant == 1 ? 1e-6 : 1e-7;
    one.relative = 2e-6; // exp of a difference of up to 12
  });
  return withLossScale(std::move(out), 5);
}

Cases crossEntropyGradCases(std::string_view name) {
  const Cases plain = rowCases(name, [](auto m, auto c) {
    return std::vector<Shape>{{m, c}, {m}, {m}, {1}, {m, c}};
  });
  return withSums(plain, 2);
}

/// One of three ranks (operand 2), and labels of them all.
void onOneOfThreeRanks(KernelCase &one) {
  const std::int64_t columns = one.instance.shapes[0][1];
  one.operands[2].set(0, double(integer(0, 2)));
  fill(one.operands[1], [columns] { return double(integer(0, 3 * columns - 1)); });
}

Cases statisticsCases(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto c) { return std::vector<Shape>{{m, c}, {m}, {1}, {m, 3}}; });
  for (KernelCase &one : out) {
    onOneOfThreeRanks(one);
    one.absolute = one.relative = 1e-6;
  }
  return out;
}

/// Ranks and rows around a vector, and more rows than one tile has.
Cases vocabularyCases(std::string_view name) {
  Cases plain;
  for (auto [ranks, rows] : {std::pair{1, 1}, {2, 17}, {8, 16}, {4, 333}, {3, 32769}, {2, 40000}}) {
    const std::int64_t vocabulary = 11 * ranks;
    plain.push_back(
        makeCase(name, {{ranks, rows, 3}, {rows}, {1}, {1}, {rows}, {1}}, {{"vocabulary", vocabulary}}));
    KernelCase &one = plain.back();
    fill(one.operands[0], [] { return uniform(-5, 5); });
    fill(one.operands[1], [vocabulary] { return double(integer(0, vocabulary - 1)); });
    one.operands[2].set(0, rows == 17 ? 0.0 : double(integer(1, rows)));
  }
  return withVariants(plain, [](KernelCase &one, int variant) {
    one.absolute = one.relative = 1e-6;
    if (variant == 2)
      inSamplesOfTwo(one);
  });
}

Cases vocabularyGradCases(std::string_view name) {
  Cases plain = rowCases(name, [](auto m, auto c) {
    return std::vector<Shape>{{m, c}, {m}, {1}, {m}, {1}, {m, c}};
  });
  for (KernelCase &one : plain) {
    onOneOfThreeRanks(one);
    one.instance.attributes.push_back({"vocabulary", 3 * one.instance.shapes[0][1]});
  }
  return withSums(plain, 3);
}

Cases mseCases(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto c) { return std::vector<Shape>{{m, c}, {m, c}, {1}, {1}}; });
  out.push_back(makeCase(name, {{9, 3, 5}, {9, 3, 5}, {1}, {1}}));
  out.back().operands[2].set(0, 4);
  for (KernelCase &one : out)
    one.relative = 3e-7;
  return out;
}

Cases mseGradCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : {Shape{1}, Shape{17, 3}, Shape{4, 33, 300}}) {
    out.push_back(makeCase(name, {shape, shape, shape}, {{"scale", 2.0 / 51}}));
    out.back().relative = 3e-7;
  }
  return withLossScale(std::move(out), 1);
}

Cases bceCases(std::string_view name) {
  Cases out = mseCases(name);
  for (KernelCase &one : out) {
    fill(one.operands[0], [] { return uniform(-20, 20); });
    fill(one.operands[1], [] { return integer(0, 1) ? uniform(0, 1) : double(integer(0, 1)); });
    one.absolute = one.relative = 5e-7;
  }
  return out;
}

Cases bceGradCases(std::string_view name) {
  Cases out = mseGradCases(name);
  for (KernelCase &one : out) {
    fill(one.operands[0], [] { return uniform(-20, 20); });
    fill(one.operands[1], [] { return uniform(0, 1); });
    one.absolute = 2e-7 * 2.0 / 51 * (one.operands.size() > 3 ? 1024 : 1);
  }
  return out;
}

Cases countCases(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto c) { return std::vector<Shape>{{m, c}, {m}, {1}, {1}}; });
  // Few different values: many ties, and many correct rows.
  for (KernelCase &one : out)
    fill(one.operands[0], [] { return double(integer(0, 2)); });
  Cases pairs = out;
  for (KernelCase &one : pairs)
    inSamplesOfTwo(one);
  out.insert(out.end(), pairs.begin(), pairs.end());
  return out;
}

Cases meanCases(std::string_view name) {
  Cases out;
  for (std::int64_t count : {1, 7, 128}) {
    for (std::int64_t width : {1, 3}) {
      out.push_back(makeCase(name, {{count * width}, {width}}));
      out.back().absolute = 1e-14;
    }
  }
  return out;
}

Cases appendCases(std::string_view name) {
  Cases out;
  for (std::int64_t count : {1, 2, 17}) {
    out.push_back(makeCase(name, {{count}, {1}, {count + 1}}, {{"weight", count == 1 ? 1.0 : 0.3}}));
    out.back().relative = 1e-7;
    out.back().absolute = 1e-7;
  }
  return out;
}

const TableEntry kTable[] = {
    {"softmax_cross_entropy", crossEntropyCases},
    {"softmax_cross_entropy_grad", crossEntropyGradCases},
    {"vocabulary_statistics", statisticsCases},
    {"vocabulary_cross_entropy", vocabularyCases},
    {"vocabulary_cross_entropy_grad", vocabularyGradCases},
    {"mse_loss", mseCases},
    {"mse_loss_grad", mseGradCases},
    {"bce_with_logits", bceCases},
    {"bce_with_logits_grad", bceGradCases},
    {"count_correct", countCases},
    {"append_loss", appendCases},
    {"mean_loss", meanCases},
    {"no_loss", [](std::string_view name) { return Cases{makeCase(name, {{1}})}; }},
};

} // namespace

std::span<const TableEntry> lossCases() {
  return kTable;
}

} // namespace stagewright::kernels
