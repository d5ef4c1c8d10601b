// The meaning of every kernel: plain loops in fp64, one statement per formula. Tests compare the kernels with
// these, and these with finite differences.
#ifndef STAGEWRIGHT_KERNELS_HOST_REFERENCE_REFERENCE_H
#define STAGEWRIGHT_KERNELS_HOST_REFERENCE_REFERENCE_H

#include "kernels/host/Host.h"

#include <vector>

namespace stagewright::kernels {

/// Element values of each operand, row-major, whatever the operand's type.
using ReferenceOperands = std::vector<std::vector<double>>;

/// Computes a call whose shapes and attributes the catalogue accepts. `operands` has one entry per shape.
/// False when the kernel has no reference.
bool runReference(const KernelInstance &instance, ReferenceOperands &operands);

/// Steps of the depth in one chunk of a packed matrix (docs/kernels.md).
std::int64_t packedChunk(std::int64_t depth);

/// Where element (step, column) of a depth x columns matrix lies in its packed form.
std::int64_t packedIndex(std::int64_t depth, std::int64_t columns, std::int64_t step, std::int64_t column);

} // namespace stagewright::kernels

#endif
