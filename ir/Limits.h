// Which tensors the IR may hold: those that the kernels' catalogue and the .stage file can.
#ifndef STAGEWRIGHT_IR_LIMITS_H
#define STAGEWRIGHT_IR_LIMITS_H

#include "catalogue/Catalogue.h"

#include "mlir/IR/BuiltinTypes.h"

namespace stagewright {

/// A tensor of static shape with at most catalogue::kMaxDimensions sizes and catalogue::kMaxElements
/// elements, so that no product of its sizes overflows.
inline bool isWithinLimits(mlir::Type type) {
  auto tensor = mlir::dyn_cast<mlir::RankedTensorType>(type);
  if (!tensor || !tensor.hasStaticShape() || tensor.getShape().size() > catalogue::kMaxDimensions) {
    return false;
  }
  std::int64_t elements = catalogue::elements({tensor.getShape().begin(), tensor.getShape().end()});
  return elements >= 0 && elements <= catalogue::kMaxElements;
}

} // namespace stagewright

#endif
