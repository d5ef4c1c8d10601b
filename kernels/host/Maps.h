// Kernels that compute element by element.
#ifndef STAGEWRIGHT_KERNELS_HOST_MAPS_H
#define STAGEWRIGHT_KERNELS_HOST_MAPS_H

#include "kernels/host/Tiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// The second operand, of elements Y, becomes f(first operand).
template <typename T, typename Y = T, typename Function>
STAGEWRIGHT_INLINE void mapOne(const Call &call, void *const *operands, TileRunner &runner,
                               const Function &f) {
  const T *const x = static_cast<const T *>(operands[0]);
  Y *const y = static_cast<Y *>(operands[1]);
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) { write(y + i, f(read(x + i, lanes)), lanes); });
  });
}

/// The third operand becomes f(first operand, second operand).
template <typename T, typename Function>
STAGEWRIGHT_INLINE void mapTwo(const Call &call, void *const *operands, TileRunner &runner,
                               const Function &f) {
  const T *const a = static_cast<const T *>(operands[0]), *const b = static_cast<const T *>(operands[1]);
  T *const y = static_cast<T *>(operands[2]);
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      write(y + i, f(read(a + i, lanes), read(b + i, lanes)), lanes);
    });
  });
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
