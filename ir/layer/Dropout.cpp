// Gradient rules, forms for evaluation and costs of ops that draw random numbers.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {

void DropoutOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), DropoutOp::create(gradients.builder, getLoc(), g, getRandom(), getPAttr(),
                                                    getBlockAttr(), getOrdinalAttr()));
  }
}

Value DropoutOp::buildEvaluation(OpBuilder &) {
  return getX();
}

void AttentionDropoutOp::buildInputGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g ||
      llvm::none_of(ValueRange{getQ(), getK(), getV()}, [&](Value v) { return gradients.isNeeded(v); })) {
    return;
  }
  auto grad = AttentionDropoutGradOp::create(
      gradients.builder, getLoc(), TypeRange{getQ().getType(), getK().getType(), getV().getType()}, g, getQ(),
      getK(), getV(), getY(), getLogSumExp(), getRandom(), getKeyMask(), getCausalAttr(), getScaleAttr(),
      getPAttr(), getBlockAttr(), getOrdinalAttr());
  gradients.addGradient(getV(), grad.getDv());
  gradients.addGradient(getK(), grad.getDk());
  gradients.addGradient(getQ(), grad.getDq());
}

Value AttentionDropoutOp::buildEvaluation(OpBuilder &builder) {
  return AttentionOp::create(builder, getLoc(), TypeRange{getY().getType(), getLogSumExp().getType()}, getQ(),
                             getK(), getV(), getKeyMask(), getCausalAttr(), getScaleAttr())
      .getY();
}

// Ten rounds of about ten operations make four numbers.
double DropoutOp::flops() {
  return 27 * elementsOf(getX());
}
double DropoutOp::gradientFlops() {
  return 27 * elementsOf(getX());
}

double CastStochasticOp::flops() {
  return 27 * elementsOf(getX());
}
double CastStochasticOp::gradientFlops() {
  return 0;
}

// As AttentionOp, and a number per score.
double AttentionDropoutOp::flops() {
  auto k = cast<RankedTensorType>(getK().getType());
  double scores = elementsOf(getLogSumExp()) * static_cast<double>(k.getDimSize(1)) * (getCausal() ? 0.5 : 1);
  return scores * (4 * static_cast<double>(k.getDimSize(3)) + 50);
}
double AttentionDropoutOp::gradientFlops() {
  return 2.5 * flops();
}

} // namespace stagewright::layer
