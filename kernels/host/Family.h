// What a kernel family sees: one call with its shapes and attributes as plain numbers, and the table that it
// exports. No inline function of the standard library (see Vec16.h).
#ifndef STAGEWRIGHT_KERNELS_HOST_FAMILY_H
#define STAGEWRIGHT_KERNELS_HOST_FAMILY_H

#include "kernels/host/TileRunner.h"

#include <cstdint>

namespace stagewright::kernels {

inline constexpr int kMaxOperands = 16;
inline constexpr int kMaxAttributes = 8;

/// What the catalogue's T stands for.
enum class Element { F32, F16, BF16 };

struct CallOperand {
  bool present = false;
  int rank = 0;
  std::int64_t sizes[8] = {};
  std::int64_t elements = 0;
};

struct CallList {
  int size = 0;
  std::int64_t values[16] = {};
};

/// A call, made once by prepare(). Attributes are in the order of their declaration; a text is its index in
/// `choices`.
struct Call {
  CallOperand operands[kMaxOperands];
  double reals[kMaxAttributes] = {};
  std::int64_t integers[kMaxAttributes] = {};
  CallList lists[kMaxAttributes];

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
  Element element = Element::F32;
};

// The three element types of a kernel whose signature has a T, for the table of its family:
//   STAGEWRIGHT_FOR_ELEMENTS("relu", 1, relu)   where relu is a template of the type
#define STAGEWRIGHT_FOR_ELEMENTS(name, version, function)                                                    \
  {name, version, function<float>, Element::F32}, {name, version, function<F16>, Element::F16}, {            \
    name, version, function<BF16>, Element::BF16                                                             \
  }

/// The kernels of one family for one instruction set.
struct Family {
  const HostKernel *kernels;
  int count;
};

} // namespace stagewright::kernels

#endif
