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

/// Of weight and bias, by the elements at hand.
template <typename Norm>
void addBatchNormParameterGradients(GradientBuilder &gradients, Norm norm) {
  Value g = gradients.gradient(norm.getY());
  if (!g) {
    return;
  }
  if (Value sum = norm.getWeight() ? gradients.accumulator(norm.getWeight()) : Value()) {
    gradients.setAccumulator(norm.getWeight(),
                             BatchNormWeightGradOp::create(gradients.builder, norm.getLoc(), sum.getType(), g,
                                                           norm.getX(), norm.getMean(), norm.getVariance(),
                                                           sum, norm.getEpsilonAttr()));
  }
  addChannelBiasGradient(gradients, norm.getLoc(), norm.getBias(), g);
}

/// By the running statistics that the norm's own go into.
template <typename Norm>
Value batchNormEvaluation(OpBuilder &builder, Norm norm) {
  for (Operation *user : norm.getMean().getUsers()) {
    if (auto update = dyn_cast<BatchNormUpdateOp>(user)) {
      return BatchNormInferenceOp::create(builder, norm.getLoc(), norm.getY().getType(), norm.getX(),
                                          update.getRunningMean(), update.getRunningVar(), norm.getWeight(),
                                          norm.getBias(), norm.getEpsilonAttr());
    }
  }
  return {};
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
  addBatchNormParameterGradients(gradients, *this);
}

Value BatchNormOp::buildEvaluation(OpBuilder &builder) {
  return batchNormEvaluation(builder, *this);
}

void SyncBatchNormOp::buildInputGradients(GradientBuilder &gradients) {
  Value g = gradients.gradientFor(getY(), getX());
  if (!g) {
    return;
  }
  OpBuilder &builder = gradients.builder;
  auto gathered = cast<RankedTensorType>(getMoments().getType());
  Type own = gathered.clone(gathered.getShape().drop_front());
  Value means = ChannelGradientMeansOp::create(builder, getLoc(), own, g, getX(), getMean());
  Value all = AllGatherOp::create(builder, getLoc(), gathered, means, builder.getStringAttr("data"));
  gradients.addGradient(getX(),
                        SyncBatchNormGradOp::create(builder, getLoc(), getX().getType(), g, getX(), getMean(),
                                                    getVariance(), all, getWeight(), getEpsilonAttr()));
}

void SyncBatchNormOp::buildParameterGradients(GradientBuilder &gradients) {
  addBatchNormParameterGradients(gradients, *this);
}

Value SyncBatchNormOp::buildEvaluation(OpBuilder &builder) {
  return batchNormEvaluation(builder, *this);
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
double ChannelMomentsOp::flops() {
  return 4 * elementsOf(getX());
}
double ChannelMomentsOp::gradientFlops() {
  return 0;
}
double SyncBatchNormOp::flops() {
  return 4 * elementsOf(getX());
}
double SyncBatchNormOp::gradientFlops() {
  return 14 * elementsOf(getX());
}
double GroupNormOp::flops() {
  return 8 * elementsOf(getX());
}
double GroupNormOp::gradientFlops() {
  return 14 * elementsOf(getX());
}

} // namespace stagewright::layer
