// Gradient rules, one per forward op. Sources: the chain rule; each is checked against finite differences in
// the tests.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {

void GradientBuilder::addGradient(Value value, Value gradient) {
  if (Value sum = accumulator(value)) {
    setAccumulator(value, AccumulateOp::create(builder, gradient.getLoc(), sum.getType(), gradient, sum));
    return;
  }
  Value &total = gradients[value];
  total = total ? AddOp::create(builder, gradient.getLoc(), total, gradient) : gradient;
}

void ReshapeOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), ReshapeOp::create(gradients.builder, getLoc(), getX().getType(), g));
  }
}

void LinearOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(
        getX(), LinearInputGradOp::create(gradients.builder, getLoc(), getX().getType(), g, getWeight()));
  }
}

void LinearOp::buildParameterGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g) {
    return;
  }
  if (Value sum = gradients.accumulator(getWeight())) {
    gradients.setAccumulator(
        getWeight(), LinearWeightGradOp::create(gradients.builder, getLoc(), sum.getType(), g, getX(), sum));
  }
  if (Value sum = getBias() ? gradients.accumulator(getBias()) : Value()) {
    gradients.setAccumulator(getBias(),
                             BiasGradOp::create(gradients.builder, getLoc(), sum.getType(), g, sum));
  }
}

void ReluOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), ReluGradOp::create(gradients.builder, getLoc(), g, getY()));
  }
}

void TanhOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), TanhGradOp::create(gradients.builder, getLoc(), g, getY()));
  }
}

void SigmoidOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), SigmoidGradOp::create(gradients.builder, getLoc(), g, getY()));
  }
}

void SiluOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), SiluGradOp::create(gradients.builder, getLoc(), g, getX()));
  }
}

void SwigluOp::buildInputGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g || (!gradients.isNeeded(getGate()) && !gradients.isNeeded(getUp()))) {
    return;
  }
  auto both = SwigluGradOp::create(gradients.builder, getLoc(), TypeRange{g.getType(), g.getType()}, g,
                                   getGate(), getUp());
  gradients.addGradient(getUp(), both.getDup());
  gradients.addGradient(getGate(), both.getDgate());
}

void GeluOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(),
                          GeluGradOp::create(gradients.builder, getLoc(), g, getX(), getApproximateAttr()));
  }
}

// The weight of a term goes into the seed of the loss that made it.
void AppendLossOp::buildInputGradients(GradientBuilder &gradients) {
  gradients.addLossWeight(getTerm(), getWeight().convertToDouble());
}

// A loss is the end of the chain: its own gradient is the seed. The kernel divides it by the rows that
// count.
void SoftmaxCrossEntropyOp::buildInputGradients(GradientBuilder &gradients) {
  if (!gradients.isNeeded(getLogits())) {
    return;
  }
  gradients.addGradient(getLogits(), SoftmaxCrossEntropyGradOp::create(
                                         gradients.builder, getLoc(), getLogits().getType(), getLogits(),
                                         getLabels(), getLogSumExp(), getCount(), gradients.lossScale(),
                                         gradients.builder.getF64FloatAttr(gradients.lossSeed(getLoss())),
                                         getIgnoreIndexAttr(), getLabelSmoothingAttr()));
}

void MseLossOp::buildInputGradients(GradientBuilder &gradients) {
  if (!gradients.isNeeded(getX())) {
    return;
  }
  double scale = 2.0 * gradients.lossSeed(getLoss()) / static_cast<double>(elementCount(getX()));
  gradients.addGradient(getX(), MseLossGradOp::create(gradients.builder, getLoc(), getX().getType(), getX(),
                                                      getTarget(), gradients.lossScale(),
                                                      gradients.builder.getF64FloatAttr(scale)));
}

void BceWithLogitsOp::buildInputGradients(GradientBuilder &gradients) {
  if (!gradients.isNeeded(getX())) {
    return;
  }
  double scale = gradients.lossSeed(getLoss()) / static_cast<double>(elementCount(getX()));
  gradients.addGradient(getX(), BceWithLogitsGradOp::create(gradients.builder, getLoc(), getX().getType(),
                                                            getX(), getTarget(), gradients.lossScale(),
                                                            gradients.builder.getF64FloatAttr(scale)));
}

} // namespace stagewright::layer
