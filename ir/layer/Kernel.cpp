// Where an op's kernel differs from the defaults of the Kernel interface: operand order and in-place results.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {

SmallVector<Value> LinearOp::kernelOperands() {
  return {getX(), getWeight(), getY(), getBias()};
}

int LinearWeightGradOp::tiedOperand(unsigned) {
  return 2;
}
int BiasGradOp::tiedOperand(unsigned) {
  return 1;
}

// Operands: parameter, gradient, learning rate, coefficient, step, momentum buffer.
int SgdOp::tiedOperand(unsigned result) {
  return result < 2 ? static_cast<int>(result) : 5;
}
// Operands: parameter, gradient, learning rate, coefficient, bias corrections, two moments.
int AdamOp::tiedOperand(unsigned result) {
  return result < 2 ? static_cast<int>(result) : static_cast<int>(result) + 3;
}

} // namespace stagewright::layer
