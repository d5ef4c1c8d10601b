// Kernels against numbers that PyTorch computed (make_goldens.py).
#include "KernelCases.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace stagewright::kernels {

namespace {

using catalogue::Shape;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(),
                 kInf = std::numeric_limits<double>::infinity();

struct OptimizerGolden {
  const char *kernel;
  std::vector<catalogue::Attribute> attributes;
  std::vector<double> single, exact; ///< parameters after the last step in fp32 and in fp64
  bool givesFirstBeta = false;
};

struct ActivationGolden {
  const char *kernel, *gradKernel;
  bool gradTakesResult;
  std::vector<catalogue::Attribute> attributes;
  std::vector<double> result, gradient;
};

struct CrossEntropyGolden {
  std::vector<catalogue::Attribute> attributes;
  double loss;
  std::vector<double> gradient;
};

#include "Goldens.inc"

/// An operand that holds `values`.
Buffer bufferOf(catalogue::DType dtype, const std::vector<double> &values) {
  Buffer out(dtype, std::int64_t(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i)
    out.set(std::int64_t(i), values[i]);
  return out;
}

std::vector<Buffer> run(const char *kernel, std::vector<catalogue::Attribute> attributes,
                        const std::vector<std::vector<double>> &operands, std::vector<Shape> shapes = {}) {
  KernelCase one{{catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, {}, 0, 0};
  for (std::size_t i = 0; i < operands.size(); ++i) {
    one.operands.push_back(bufferOf(one.instance.kernel->operands[i].dtype, operands[i]));
    if (one.instance.shapes.size() <= i)
      one.instance.shapes.push_back({std::int64_t(operands[i].size())});
  }
  SerialTileRunner runner;
  return runCase(one, bestIsa(), runner);
}

void expectClose(const std::vector<double> &got, const std::vector<double> &want, double tolerance,
                 const std::string &what) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    if (std::isnan(want[i]) || std::isinf(want[i]))
      EXPECT_TRUE(got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i])))
          << what << " " << i << ": " << got[i];
    else
      EXPECT_NEAR(got[i], want[i], tolerance * std::max(1.0, std::abs(want[i]))) << what << " " << i;
}

/// All of them, those of Adam also with beta1 as an operand.
std::vector<OptimizerGolden> optimizerGoldens() {
  std::vector<OptimizerGolden> goldens(std::begin(kOptimizers), std::end(kOptimizers));
  for (const OptimizerGolden &golden : kOptimizers)
    if (golden.kernel == std::string_view("adam")) {
      goldens.push_back(golden);
      goldens.back().givesFirstBeta = true;
    }
  return goldens;
}

/// As far from the exact result as PyTorch's fp32 at most twice, plus a rounding of the parameter.
TEST(Goldens, OptimizersFollowTorch) {
  for (const OptimizerGolden &golden : optimizerGoldens()) {
    const bool isAdam = std::string_view(golden.kernel) == "adam";
    const auto *kernel = catalogue::find(golden.kernel, 1);
    const double beta1 = isAdam ? catalogue::floatAttribute(*kernel, golden.attributes, "beta1") : 0;
    const double beta2 = isAdam ? catalogue::floatAttribute(*kernel, golden.attributes, "beta2") : 0;
    std::vector<double> param = kParam, first(kParam.size()), second(kParam.size());
    for (std::size_t step = 0; step < kGrads.size(); ++step) {
      const double t = double(step + 1);
      std::vector<std::vector<double>> operands = {param, kGrads[step], {kRate}, {1}};
      if (isAdam)
        operands.insert(operands.end(), {{1 - std::pow(beta1, t), 1 - std::pow(beta2, t)}, first, second});
      else
        operands.insert(operands.end(), {{t}, first});
      std::vector<catalogue::Attribute> attributes = golden.attributes;
      if (golden.givesFirstBeta) { // the operand counts
        operands.push_back({beta1});
        std::erase_if(attributes, [](const auto &attribute) { return attribute.name == "beta1"; });
        attributes.push_back({"beta1", 0.25});
      }
      const std::vector<Buffer> results = run(golden.kernel, attributes, operands);
      param = results[0].values();
      EXPECT_EQ(results[1].values(), std::vector<double>(kParam.size())) << "the gradient is zero after use";
      first = results[5].values();
      second = isAdam ? results[6].values() : second;
    }
    for (std::size_t i = 0; i < param.size(); ++i) {
      const double ours = std::abs(param[i] - golden.exact[i]),
                   torch = std::abs(golden.single[i] - golden.exact[i]);
      EXPECT_LE(ours, 2 * torch + 0x1p-23 * std::max(0.25, std::abs(golden.exact[i])))
          << golden.kernel << " element " << i << ": " << param[i] << ", exact " << golden.exact[i];
    }
  }
}

TEST(Goldens, ActivationsFollowTorchAlsoAtTheEdges) {
  for (const ActivationGolden &golden : kActivations) {
    const std::vector<double> twos(kActivationInputs.size(), 2.0), zeros(kActivationInputs.size());
    std::vector<double> want = golden.result;
    if (std::string_view(golden.kernel) == "gelu")
      want[10] = kInf; // gelu of +infinity: the limit; PyTorch gives NaN for one of the two forms
    expectClose(run(golden.kernel, golden.attributes, {kActivationInputs, zeros})[1].values(), want, 1e-6,
                golden.kernel);
    const std::vector<double> &from = golden.gradTakesResult ? golden.result : kActivationInputs;
    expectClose(run(golden.gradKernel, golden.attributes, {twos, from, zeros})[2].values(), golden.gradient,
                1e-6, golden.gradKernel);
  }
}

TEST(Goldens, BinaryCrossEntropyFollowsTorch) {
  EXPECT_NEAR(run("bce_with_logits", {}, {kBceInputs, kBceTargets, {8}, {0}})[3].at(0), kBce, 5e-7 * kBce);
  const auto grad =
      run("bce_with_logits_grad", {{"scale", 1.0 / 8}}, {kBceInputs, kBceTargets, std::vector<double>(8)});
  expectClose(grad[2].values(), kBceGrad, 1e-7, "bce_with_logits_grad");
}

TEST(Goldens, CrossEntropyFollowsTorch) {
  const std::vector<Shape> forward = {{3, 4}, {3}, {1}, {1}, {3}, {1}},
                           backward = {{3, 4}, {3}, {3}, {1}, {3, 4}};
  for (const CrossEntropyGolden &golden : kCrossEntropies) {
    const auto out = run("softmax_cross_entropy", golden.attributes,
                         {kLogits, kLabels, {3}, {0}, {0, 0, 0}, {0}}, forward);
    EXPECT_NEAR(out[3].at(0), golden.loss, 3e-7 * golden.loss);
    const auto grad =
        run("softmax_cross_entropy_grad", golden.attributes,
            {kLogits, kLabels, out[4].values(), out[5].values(), std::vector<double>(12)}, backward);
    expectClose(grad[4].values(), golden.gradient, 1e-6, "softmax_cross_entropy_grad");
  }
}

} // namespace

} // namespace stagewright::kernels
