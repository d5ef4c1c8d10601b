// How gradients travel between replicas when that is not in fp32.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_WIREFORMAT_H
#define STAGEWRIGHT_RUNTIME_EXEC_WIREFORMAT_H

#include "error/Error.h"
#include "kernels/host/Host.h"
#include "runtime/executable/Executable.h"

#include <cstddef>
#include <memory>

namespace stagewright::runtime {

/// Values of 16 bits for values of fp32, rounded to nearest, ties to even; beyond the format's range:
/// infinity. Used by one thread.
class WireFormat {
public:
  /// `type`: F16 or BF16. Errors: Environment, the instruction set is not there.
  static Result<std::unique_ptr<WireFormat>> create(executable::DType type, kernels::Isa isa);

  static constexpr std::size_t kBlock = 4096; ///< elements of a call, at most
  void narrow(const float *from, std::byte *to, std::size_t count);
  void widen(const std::byte *from, float *to, std::size_t count);

private:
  std::unique_ptr<kernels::PreparedKernel> narrows, widens;
  alignas(64) float wide[kBlock] = {};
  alignas(64) std::byte narrowed[2 * kBlock] = {};
};

} // namespace stagewright::runtime

#endif
