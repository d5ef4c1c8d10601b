// Products with epilogues beside the two kernels that they take the place of.
#ifndef STAGEWRIGHT_TESTS_KERNELS_FUSEDCASES_H
#define STAGEWRIGHT_TESTS_KERNELS_FUSEDCASES_H

#include "DeviceRuns.h"

#include "kernels/cuda/Fusion.h"

namespace stagewright::cuda {

/// The second call's shared operand is what the first one writes.
struct FusedCase {
  kernels::KernelCase first, second;
  Epilogue epilogue = Epilogue::None;
  /// Of an element's magnitude plus one: of the product's result, and of what its epilogue stores beside it.
  double tolerance = 0, ofAux = 0;

  std::string text() const { return first.text() + " and " + std::string(second.instance.kernel->name); }
};

/// "linear + gelu" and the others.
std::vector<std::string> fusedNames();
std::vector<FusedCase> fusedCases(const std::string &name);

/// Runs the two kernels and the product, that one twice for equal bits. Empty: cuBLASLt has no algorithm for
/// it. Errors: those of DeviceRuns::run.
Result<std::optional<Parity>> runFused(const FusedCase &one, KernelCache &cache, DeviceRuns &runs);

} // namespace stagewright::cuda

#endif
