// The table that a kernel family exports. No inline function of the standard library (see Vec16.h).
#ifndef STAGEWRIGHT_KERNELS_HOST_FAMILY_H
#define STAGEWRIGHT_KERNELS_HOST_FAMILY_H

#include "call/Call.h"
#include "kernels/host/TileRunner.h"

namespace stagewright::kernels {

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
