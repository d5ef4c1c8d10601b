// Registration of the layer dialect.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

#include "generated/layer/LayerDialect.cpp.inc"
#include "generated/layer/LayerInterfaces.cpp.inc"

namespace stagewright::layer {

void LayerDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "generated/layer/LayerOps.cpp.inc"
      >();
}

Value stripViews(Value value) {
  while (auto view = value.getDefiningOp<View>()) {
    value = view->getOperand(0);
  }
  return value;
}

Value withoutUse(Value value) {
  auto use = value.getDefiningOp<ParameterUseOp>();
  return use ? use.getParameter() : value;
}

Value memoryRoot(Value value) {
  while (true) {
    value = stripViews(value);
    auto result = dyn_cast<OpResult>(value);
    auto kernel = result ? dyn_cast<Kernel>(result.getOwner()) : Kernel();
    int tied = kernel ? kernel.tiedOperand(result.getResultNumber()) : -1;
    if (tied < 0) {
      return value;
    }
    value = result.getOwner()->getOperand(tied);
  }
}

int64_t elementCount(Value value) {
  return cast<RankedTensorType>(value.getType()).getNumElements();
}

std::vector<int64_t> shapeOf(Type type) {
  ArrayRef<int64_t> shape = cast<RankedTensorType>(type).getShape();
  return {shape.begin(), shape.end()};
}

} // namespace stagewright::layer

#define GET_OP_CLASSES
#include "generated/layer/LayerOps.cpp.inc"
