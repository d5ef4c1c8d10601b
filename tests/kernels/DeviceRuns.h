// Runs of calls on any GPU, and what they are worth beside the reference in fp64.
#ifndef STAGEWRIGHT_TESTS_KERNELS_DEVICERUNS_H
#define STAGEWRIGHT_TESTS_KERNELS_DEVICERUNS_H

#include "KernelCases.h"

#include "kernels/cuda/Cuda.h"

namespace stagewright::cuda {

/// Kernels that a GPU has; collectives are the executor's.
std::vector<const catalogue::Kernel *> cudaKernels();

/// Runs calls, one behind the other, in memory of the device that it keeps:
///
///   guard | operand 0 | guard   guard | operand 1 | guard   ...   guard | workspace, full of NaNs | guard
class DeviceRuns {
public:
  explicit DeviceRuns(KernelCache &cache) : cache(cache), api(cache.api()) {}
  ~DeviceRuns();
  DeviceRuns(const DeviceRuns &) = delete;

  /// The operands as the device left them, of copies of the case's. `aliased`: that pair is the same memory.
  /// Errors: of the table (Environment), a call that cannot be prepared; Bug, bytes outside of operands and
  /// workspace were written.
  Result<std::vector<kernels::Buffer>> run(const kernels::KernelCase &call,
                                           std::optional<catalogue::InPlacePair> aliased = {});
  /// The same of what is no kernel of the catalogue; an operand without elements is null. `text`: for errors.
  Result<std::vector<kernels::Buffer>> run(const PreparedKernel &kernel,
                                           std::vector<kernels::Buffer> operands, std::size_t workspaceBytes,
                                           const std::string &text,
                                           std::optional<catalogue::InPlacePair> aliased = {});

private:
  Result<void> reserve(std::size_t bytes);
  Result<void> copyGuards(std::byte *workspace, std::size_t bytes, kernels::Buffer &onHost, bool toDevice);

  KernelCache &cache;
  Api &api;
  Stream stream;
  std::byte *memory = nullptr;
  std::size_t capacity = 0;
};

/// Of one call.
struct Parity {
  double largestError = 0; ///< in units of the tolerance; may be infinite
  std::string fault;       ///< the first element that is too far off, or a changed input; empty: none
};

/// Each element's tolerance is the case's, and `more` of its magnitude plus one.
Parity compareWithReference(const kernels::KernelCase &one, const std::vector<kernels::Buffer> &results,
                            double more = 0);

} // namespace stagewright::cuda

#endif
