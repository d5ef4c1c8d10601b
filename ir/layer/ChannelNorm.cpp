// Gradient rules and costs of normalisation over channels.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {
namespace {

void addChannelBiasGradient(GradientBuilder &gradients, Location location, Value bias, Value g) {
  if (Value sum = bias ? gradients.accumulator(bias) : Value()) {
    gradients.setAccumulator(bias,
                             ChannelBiasGradOp::create(gradients.builder, location, sum.getType(), g, sum));
  }
}

} // namespace

void BatchNormOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(),
                          BatchNormGradOp::create(gradients.builder, getLoc(), getX().getType(), g, getX(),
                                                  getMean(), getVariance(), getWeight(), getEpsilonAttr()));
  }
}

void BatchNormOp::buildParameterGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g) {
    return;
  }
  if (Value sum = getWeight() ? gradients.accumulator(getWeight()) : Value()) {
    gradients.setAccumulator(
        getWeight(), BatchNormWeightGradOp::create(gradients.builder, getLoc(), sum.getType(), g, getX(),
                                                   getMean(), getVariance(), sum, getEpsilonAttr()));
  }
  addChannelBiasGradient(gradients, getLoc(), getBias(), g);
}

Value BatchNormOp::buildEvaluation(OpBuilder &builder) {
  for (Operation *user : getMean().getUsers()) {
    if (auto update = dyn_cast<BatchNormUpdateOp>(user)) {
      return BatchNormInferenceOp::create(builder, getLoc(), getY().getType(), getX(),
                                          update.getRunningMean(), update.getRunningVar(), getWeight(),
                                          getBias(), getEpsilonAttr());
    }
  }
  return {};
}

void GroupNormOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), GroupNormGradOp::create(gradients.builder, getLoc(), getX().getType(), g,
                                                          getX(), getMean(), getRstd(), getWeight()));
  }
}

void GroupNormOp::buildParameterGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g) {
    return;
  }
  if (Value sum = getWeight() ? gradients.accumulator(getWeight()) : Value()) {
    gradients.setAccumulator(getWeight(),
                             GroupNormWeightGradOp::create(gradients.builder, getLoc(), sum.getType(), g,
                                                           getX(), getMean(), getRstd(), sum));
  }
  addChannelBiasGradient(gradients, getLoc(), getBias(), g);
}

// Sums, then a formula per element.
double BatchNormOp::flops() {
  return 8 * elementsOf(getX());
}
double BatchNormOp::gradientFlops() {
  return 14 * elementsOf(getX());
}
double GroupNormOp::flops() {
  return 8 * elementsOf(getX());
}
double GroupNormOp::gradientFlops() {
  return 14 * elementsOf(getX());
}

} // namespace stagewright::layer
