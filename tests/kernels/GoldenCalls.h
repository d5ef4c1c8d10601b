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

/// Runs the call on every instruction set; numbers may differ by tolerance * max(1, |PyTorch's|), and what is
/// not a finite number may not differ.
inline void expectGolden(const GoldenCall &golden, double tolerance) {
  setFlushToZero();
  KernelCase one{{catalogue::find(golden.kernel, 1), golden.shapes, golden.attributes}, {}, 0, 0};
  for (std::size_t i = 0; i < golden.before.size(); ++i) {
    Buffer &buffer = one.operands.emplace_back(one.instance.kernel->operands[i].dtype,
                                               std::int64_t(golden.before[i].size()));
    for (std::size_t k = 0; k < golden.before[i].size(); ++k)
      buffer.set(std::int64_t(k), golden.before[i][k]);
  }
  for (Isa isa : supportedIsas()) {
    SerialTileRunner runner;
    const std::vector<Buffer> results = runCase(one, isa, runner);
    for (std::size_t i = 0; i < results.size(); ++i)
      for (std::size_t k = 0; k < golden.after[i].size(); ++k) {
        const double want = golden.after[i][k], got = results[i].at(std::int64_t(k));
        const bool close = std::isfinite(want)
                               ? std::abs(got - want) <= tolerance * std::max(1.0, std::abs(want))
                               : got == want || (std::isnan(got) && std::isnan(want));
        EXPECT_TRUE(close) << one.text() << " operand " << i << " element " << k << " is " << got << ", not "
                           << want << " on " << name(isa);
      }
  }
}

} // namespace stagewright::kernels

#endif
