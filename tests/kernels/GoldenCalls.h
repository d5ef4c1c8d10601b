// Calls of kernels with the results that PyTorch computed (golden_calls.py).
#ifndef STAGEWRIGHT_TESTS_KERNELS_GOLDENCALLS_H
#define STAGEWRIGHT_TESTS_KERNELS_GOLDENCALLS_H

#include "KernelCases.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

namespace stagewright::kernels {

struct GoldenCall {
  const char *kernel;
  std::vector<catalogue::Attribute> attributes;
  std::vector<catalogue::Shape> shapes;
  std::vector<std::vector<double>> before, after; ///< after: empty where it is not compared
};

inline void expectResults(const KernelCase &one, Isa isa, const std::vector<std::vector<double>> &after,
                          double tolerance) {
  SerialTileRunner runner;
  const std::vector<Buffer> results = runCase(one, isa, runner);
  for (std::size_t i = 0; i < results.size(); ++i)
    for (std::size_t k = 0; k < after[i].size(); ++k) {
      const double want = after[i][k], got = results[i].at(std::int64_t(k));
      const bool close = std::isfinite(want)
                             ? std::abs(got - want) <= tolerance * std::max(1.0, std::abs(want))
                             : got == want || (std::isnan(got) && std::isnan(want));
      EXPECT_TRUE(close) << one.text() << " operand " << i << " element " << k << " is " << got << ", not "
                         << want << " on " << name(isa);
    }
}

/// What rounding operands and results to an element type may cost beside fp32, in units of |x| <= 1: a few
/// roundings of half a unit in the last place. The exact bound of each kernel is that of its cases
/// (KernelTest.MatchesReference).
inline double roundingOf(catalogue::DType element) {
  return element == catalogue::DType::F32 ? 0 : element == catalogue::DType::F16 ? 0x1p-8 : 0x1p-5;
}

/// Runs the call on every instruction set and in every element type; numbers may differ by tolerance * max(1,
/// |PyTorch's|), and what is not a finite number may not differ.
inline void expectGolden(const GoldenCall &golden, double tolerance) {
  setFlushToZero();
  KernelCase single{{catalogue::find(golden.kernel, 1), golden.shapes, golden.attributes}, {}, 0, 0};
  for (std::size_t i = 0; i < golden.shapes.size(); ++i) {
    Buffer &buffer = single.operands.emplace_back(single.instance.kernel->operands[i].dtype,
                                                  catalogue::elements(golden.shapes[i]));
    for (std::size_t k = 0; k < golden.before[i].size(); ++k)
      buffer.set(std::int64_t(k), golden.before[i][k]);
  }
  for (catalogue::DType element : elementTypes(*single.instance.kernel))
    for (Isa isa : supportedIsas())
      expectResults(withElement(single, element), isa, golden.after, tolerance + roundingOf(element));
}
} // namespace stagewright::kernels

#endif
