// Host kernels: every kernel of the catalogue for CPUs. A kernel is prepared once, when a plan is loaded, and
// run any number of times; run() allocates nothing and gives the same bits for any number of threads and any
// instruction set (docs/kernels.md). NaNs stay NaNs, but which of the NaNs is not part of that promise.
#ifndef STAGEWRIGHT_KERNELS_HOST_HOST_H
#define STAGEWRIGHT_KERNELS_HOST_HOST_H

#include "call/KernelInstance.h"
#include "error/Error.h"
#include "kernels/host/TileRunner.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace stagewright::kernels {

/// Instruction sets that the kernels are built for. Portable is plain C++ and runs anywhere.
enum class Isa { Portable, Avx2, Avx512 };

std::string_view name(Isa isa); ///< "portable", "avx2", "avx512"
bool isSupported(Isa isa);      ///< whether this build has it and this CPU and system run it
Isa bestIsa();                  ///< the widest supported one

class PreparedKernel {
public:
  virtual ~PreparedKernel();

  /// `operands` in the catalogue's order; absent optional operands are null or left out. `workspace`: as many
  /// bytes as the catalogue says, 8-byte aligned; null when it says none. The calling thread must be inside a
  /// task of `tiles`.
  virtual void run(void *const *operands, void *workspace, TileRunner &tiles) const = 0;
};

/// Checks the call against the catalogue. Errors: a wrong shape or attribute (User), an instruction set that
/// this CPU does not have (Environment), a kernel without an implementation here (User).
Result<std::unique_ptr<PreparedKernel>> prepare(const KernelInstance &instance, Isa isa);

/// Subnormal numbers become zero, as inputs and as results, in the calling thread: every thread that runs
/// kernels calls it.
void setFlushToZero();

/// While it lives, subnormal numbers are kept in the thread that made it: the arithmetic of GPUs.
class KeepSubnormals {
public:
  KeepSubnormals();
  ~KeepSubnormals();
  KeepSubnormals(const KeepSubnormals &) = delete;

private:
  const std::uint64_t before; ///< the thread's settings
};

} // namespace stagewright::kernels

#endif
