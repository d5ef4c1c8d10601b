// Gradient rules and costs of row normalisation, softmax, embedding, rotary positions and attention.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {
namespace {

void addBiasGradient(GradientBuilder &gradients, Location location, Value bias, Value g) {
  if (Value sum = bias ? gradients.accumulator(bias) : Value()) {
    gradients.setAccumulator(bias, BiasGradOp::create(gradients.builder, location, sum.getType(), g, sum));
  }
}

} // namespace

void LayerNormOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), LayerNormGradOp::create(gradients.builder, getLoc(), getX().getType(), g,
                                                          getX(), getMean(), getRstd(), getWeight()));
  }
}

void LayerNormOp::buildParameterGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g) {
    return;
  }
  if (Value sum = getWeight() ? gradients.accumulator(getWeight()) : Value()) {
    gradients.setAccumulator(getWeight(),
                             LayerNormWeightGradOp::create(gradients.builder, getLoc(), sum.getType(), g,
                                                           getX(), getMean(), getRstd(), sum));
  }
  addBiasGradient(gradients, getLoc(), getBias(), g);
}

void RmsNormOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), RmsNormGradOp::create(gradients.builder, getLoc(), getX().getType(), g,
                                                        getX(), getRstd(), getWeight()));
  }
}

void RmsNormOp::buildParameterGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (Value sum = g && getWeight() ? gradients.accumulator(getWeight()) : Value()) {
    gradients.setAccumulator(
        getWeight(),
        RmsNormWeightGradOp::create(gradients.builder, getLoc(), sum.getType(), g, getX(), getRstd(), sum));
  }
}

void NormalizeOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), NormalizeGradOp::create(gradients.builder, getLoc(), getX().getType(), g,
                                                          getX(), getNorm(), getEpsilonAttr()));
  }
}

// The mask is a model input of integers: it has no gradient.
void MaskedMeanOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), MaskedMeanGradOp::create(gradients.builder, getLoc(), getX().getType(), g,
                                                           getMask(), getEpsilonAttr()));
  }
}

void SoftmaxOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), SoftmaxGradOp::create(gradients.builder, getLoc(), g.getType(), g, getY()));
  }
}

void EmbeddingOp::buildInputGradients(GradientBuilder &) {}

void EmbeddingOp::buildParameterGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (Value sum = g ? gradients.accumulator(getWeight()) : Value()) {
    gradients.setAccumulator(getWeight(),
                             EmbeddingGradOp::create(gradients.builder, getLoc(), sum.getType(), getIds(), g,
                                                     sum, getTensorRank(), getPaddingIdx()));
  }
}

// A rotation's gradient is the rotation back.
void RotaryOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), RotaryOp::create(gradients.builder, getLoc(), g.getType(), g, getTable(),
                                                   1 - getInverse(), getInterleaved()));
  }
}

void AttentionOp::buildInputGradients(GradientBuilder &gradients) {
  Value g = gradients.gradient(getY());
  if (!g ||
      llvm::none_of(ValueRange{getQ(), getK(), getV()}, [&](Value v) { return gradients.isNeeded(v); })) {
    return;
  }
  auto grad = AttentionGradOp::create(
      gradients.builder, getLoc(), TypeRange{getQ().getType(), getK().getType(), getV().getType()}, g, getQ(),
      getK(), getV(), getY(), getLogSumExp(), getKeyMask(), getCausal(), getScale());
  gradients.addGradient(getV(), grad.getDv());
  gradients.addGradient(getK(), grad.getDk());
  gradients.addGradient(getQ(), grad.getDq());
}

// Sums, then a formula per element.
double LayerNormOp::flops() {
  return 8 * elementsOf(getX());
}
double LayerNormOp::gradientFlops() {
  return 14 * elementsOf(getX());
}
double RmsNormOp::flops() {
  return 5 * elementsOf(getX());
}
double RmsNormOp::gradientFlops() {
  return 11 * elementsOf(getX());
}
double NormalizeOp::flops() {
  return 3 * elementsOf(getX());
}
double NormalizeOp::gradientFlops() {
  return 6 * elementsOf(getX());
}
double MaskedMeanOp::flops() {
  return elementsOf(getX());
}
double MaskedMeanOp::gradientFlops() {
  return elementsOf(getX());
}
double SoftmaxOp::flops() {
  return 23 * elementsOf(getX());
}
double SoftmaxOp::gradientFlops() {
  return 4 * elementsOf(getX());
}
double EmbeddingOp::flops() {
  return elementsOf(getY());
}
double EmbeddingOp::gradientFlops() {
  return elementsOf(getY());
}
double RotaryOp::flops() {
  return 3 * elementsOf(getX());
}
double RotaryOp::gradientFlops() {
  return 3 * elementsOf(getX());
}

// Two products of queries and keys, half of them with a causal mask, and about 23 per score for the softmax.
double AttentionOp::flops() {
  auto k = cast<RankedTensorType>(getK().getType());
  double scores = elementsOf(getLogSumExp()) * static_cast<double>(k.getDimSize(1)) * (getCausal() ? 0.5 : 1);
  return scores * (4 * static_cast<double>(k.getDimSize(3)) + 23);
}
double AttentionOp::gradientFlops() {
  return 2.5 * flops();
}

} // namespace stagewright::layer
