// What a kernel family sees: one call with its shapes and attributes as plain numbers, and the table that it
// exports. No inline function of the standard library (see Vec16.h).
#ifndef STAGEWRIGHT_KERNELS_HOST_FAMILY_H
#define STAGEWRIGHT_KERNELS_HOST_FAMILY_H

#include "kernels/host/TileRunner.h"

#include <cstdint>

namespace stagewright::kernels {

inline constexpr int kMaxOperands = 8;
inline constexpr int kMaxAttributes = 8;

struct CallOperand {
  bool present = false;
  int rank = 0;
  std::int64_t sizes[8] = {};
  std::int64_t elements = 0;
};

/// A call, made once by prepare(). Attributes are in the order of their declaration; a text is its index in
/// `choices`.
struct Call {
  CallOperand operands[kMaxOperands];
  double reals[kMaxAttributes] = {};
  std::int64_t integers[kMaxAttributes] = {};

  [[gnu::always_inline]] std::int64_t size(int operand, int dimension) const {
    return operands[operand].sizes[dimension];
  }
  [[gnu::always_inline]] std::int64_t elements(int operand) const { return operands[operand].elements; }
};

using RunKernel = void (*)(const Call &call, void *const *operands, void *workspace, TileRunner &runner);

struct HostKernel {
  const char *name;
  int version;
  RunKernel run;
};

/// The kernels of one family for one instruction set.
struct Family {
  const HostKernel *kernels;
  int count;
};

} // namespace stagewright::kernels

#endif
