// What cuda_parity runs: every kernel of the catalogue, products with epilogues, and the sum over ranks.
#ifndef STAGEWRIGHT_TESTS_KERNELS_PARITYCHECKS_H
#define STAGEWRIGHT_TESTS_KERNELS_PARITYCHECKS_H

#include "DeviceRuns.h"

namespace stagewright::cuda {

/// Has a row of its own.
struct Subject {
  std::string name;
  int version = 1;
  const catalogue::Kernel *kernel = nullptr; ///< null: none of the catalogue

  std::string label() const { return name + (version > 1 ? " " + std::to_string(version) : ""); }
};
std::vector<Subject> subjects();

struct Outcome {
  std::size_t cases = 0, passed = 0, byDnn = 0;
  std::size_t refused = 0; ///< not among the cases: cuBLASLt has no algorithm with the epilogue
  double largestError = 0; ///< in units of the tolerance
  bool sameBits = true;
  std::string fault; ///< the first

  void note(const std::string &text) { fault = fault.empty() ? text : fault; }
};

/// Calls that there are, whether a library has an algorithm for them or not.
std::size_t caseCount(const Subject &subject);
/// Runs all of them. False: the device is not to be used any more.
bool check(const Subject &subject, KernelCache &cache, Outcome &outcome);

} // namespace stagewright::cuda

#endif
