// Runs of calls on an emulated GPU, with what a test expects of every one.
#ifndef STAGEWRIGHT_TESTS_KERNELS_CUDARUNS_H
#define STAGEWRIGHT_TESTS_KERNELS_CUDARUNS_H

#include "DeviceRuns.h"

#include "kernels/cuda/emulation/EmulatedGpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace stagewright::cuda {

/// Runs a call on copies of its operands and returns them.
inline std::vector<kernels::Buffer> runCase(const kernels::KernelCase &call, KernelCache &cache,
                                            std::optional<catalogue::InPlacePair> aliased = {}) {
  auto results = DeviceRuns(cache).run(call, aliased);
  if (!results) {
    ADD_FAILURE() << call.text() << ": " << results.error().text();
    return call.operands;
  }
  return std::move(*results);
}

/// Expects what the reference computes, within the case's tolerance and `more` of each element plus one.
inline void expectReference(const kernels::KernelCase &one, const std::vector<kernels::Buffer> &results,
                            double more = 0) {
  const Parity parity = compareWithReference(one, results, more);
  ASSERT_EQ(parity.fault, "");
}

} // namespace stagewright::cuda

#endif
