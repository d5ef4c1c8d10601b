// Floating-point operations of forward ops: 2 per multiply-add; elementwise ops by the length of their
// formula.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {
double LinearOp::flops() {
  double multiplyAdds =
      elementsOf(getY()) * static_cast<double>(cast<RankedTensorType>(getX().getType()).getDimSize(1));
  return 2 * multiplyAdds + (getBias() ? elementsOf(getY()) : 0);
}
double LinearOp::gradientFlops() {
  return 2 * flops();
}

double ReluOp::flops() {
  return elementsOf(getX());
}
double ReluOp::gradientFlops() {
  return elementsOf(getX());
}

// A rational or polynomial approximation of about ten multiply-adds.
double TanhOp::flops() {
  return 20 * elementsOf(getX());
}
double TanhOp::gradientFlops() {
  return 3 * elementsOf(getX());
}
double SigmoidOp::flops() {
  return 20 * elementsOf(getX());
}
double SigmoidOp::gradientFlops() {
  return 3 * elementsOf(getX());
}
double SiluOp::flops() {
  return 21 * elementsOf(getX());
}
double SiluOp::gradientFlops() {
  return 25 * elementsOf(getX());
}
double SwigluOp::flops() {
  return 22 * elementsOf(getUp());
}
double SwigluOp::gradientFlops() {
  return 27 * elementsOf(getUp());
}
double GeluOp::flops() {
  return 25 * elementsOf(getX());
}
double GeluOp::gradientFlops() {
  return 35 * elementsOf(getX());
}

// Maximum, exponential and sum per logit; the gradient takes the exponential again.
double SoftmaxCrossEntropyOp::flops() {
  return 23 * elementsOf(getLogits());
}
double SoftmaxCrossEntropyOp::gradientFlops() {
  return 23 * elementsOf(getLogits());
}

double MseLossOp::flops() {
  return 3 * elementsOf(getX());
}
double MseLossOp::gradientFlops() {
  return 2 * elementsOf(getX());
}

// An exponential and a logarithm; the gradient takes an exponential.
double BceWithLogitsOp::flops() {
  return 45 * elementsOf(getX());
}
double BceWithLogitsOp::gradientFlops() {
  return 24 * elementsOf(getX());
}

} // namespace stagewright::layer
