// Gradient rules and costs of convolution and pooling.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {
namespace {

/// [N, C, H, W] as [N, C, H W].
Value planes(OpBuilder &builder, Location location, Value x) {
  auto type = cast<RankedTensorType>(x.getType());
  auto flat =
      RankedTensorType::get({type.getDimSize(0), type.getDimSize(1), type.getDimSize(2) * type.getDimSize(3)},
                            type.getElementType());
  return ReshapeOp::create(builder, location, flat, x);
}

} // namespace

void Conv2dOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), Conv2dInputGradOp::create(gradients.builder, getLoc(), getX().getType(), g,
                                                            getWeight(), getKernel(), getStride(),
                                                            getPadding(), getDilation(), getGroups()));
  }
}

void Conv2dOp::buildParameterGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g) {
    return;
  }
  if (Value sum = gradients.accumulator(getWeight())) {
    gradients.setAccumulator(
        getWeight(), Conv2dWeightGradOp::create(gradients.builder, getLoc(), sum.getType(), g, getX(), sum,
                                                getStride(), getPadding(), getDilation(), getGroups()));
  }
  if (Value sum = getBias() ? gradients.accumulator(getBias()) : Value()) {
    Value flat = planes(gradients.builder, getLoc(), g);
    gradients.setAccumulator(
        getBias(), ChannelBiasGradOp::create(gradients.builder, getLoc(), sum.getType(), flat, sum));
  }
}

void MaxPool2dOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(
        getX(), MaxPool2dGradOp::create(gradients.builder, getLoc(), getX().getType(), g, getIndex()));
  }
}

void AvgPool2dOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), AvgPool2dGradOp::create(gradients.builder, getLoc(), getX().getType(), g,
                                                          getKernel(), getStride(), getPadding(),
                                                          getCountIncludePad(), getDivisorOverride()));
  }
}

void AdaptiveAvgPool2dOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(),
                          AdaptiveAvgPool2dGradOp::create(gradients.builder, getLoc(), getX().getType(), g));
  }
}

double Conv2dOp::flops() {
  auto x = cast<RankedTensorType>(getX().getType());
  double window = static_cast<double>(getKernel()[0] * getKernel()[1] * x.getDimSize(1) / getGroups());
  return 2 * elementsOf(getY()) * window + (getBias() ? elementsOf(getY()) : 0);
}
double Conv2dOp::gradientFlops() {
  return 2 * flops();
}
double MaxPool2dOp::flops() {
  return elementsOf(getY()) * static_cast<double>(getKernel()[0] * getKernel()[1]);
}
double MaxPool2dOp::gradientFlops() {
  return elementsOf(getY());
}
double AvgPool2dOp::flops() {
  return elementsOf(getY()) * static_cast<double>(getKernel()[0] * getKernel()[1]);
}
double AvgPool2dOp::gradientFlops() {
  return flops();
}
double AdaptiveAvgPool2dOp::flops() {
  return elementsOf(getX());
}
double AdaptiveAvgPool2dOp::gradientFlops() {
  return elementsOf(getX());
}

} // namespace stagewright::layer
