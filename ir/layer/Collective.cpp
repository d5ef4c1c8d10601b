// Gradient rules and costs of collectives.
#include "ir/layer/LayerDialect.h"

using namespace mlir;

namespace stagewright::layer {

void AllReduceOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), g);
  }
}

void SharedInputOp::buildInputGradients(GradientBuilder &gradients) {
  if (Value g = gradients.gradientFor(getY(), getX())) {
    gradients.addGradient(getX(), AllReduceOp::create(gradients.builder, getLoc(), g.getType(), g, "tensor"));
  }
}

// Of the logits: what the loss reads was made from them.
void VocabularyCrossEntropyOp::buildInputGradients(GradientBuilder &gradients) {
  auto gathered = getStatistics().getDefiningOp<AllGatherOp>();
  auto own = gathered ? gathered.getX().getDefiningOp<VocabularyStatisticsOp>() : nullptr;
  if (!own || !gradients.isNeeded(own.getLogits())) {
    return;
  }
  gradients.addGradient(own.getLogits(),
                        VocabularyCrossEntropyGradOp::create(
                            gradients.builder, getLoc(), own.getLogits().getType(), own.getLogits(),
                            own.getLabels(), own.getTensorRank(), getLogSumExp(), getCount(),
                            gradients.lossScale(),
                            gradients.builder.getF64FloatAttr(gradients.lossSeed(getLoss())),
                            getIgnoreIndexAttr(), getLabelSmoothingAttr(), getVocabularyAttr()));
}

// As SoftmaxCrossEntropyOp, of a rank's columns.
double VocabularyCrossEntropyOp::flops() {
  return 23 * elementsOf(getLabels()) * static_cast<double>(getVocabulary()) /
         static_cast<double>(cast<RankedTensorType>(getStatistics().getType()).getDimSize(0));
}
double VocabularyCrossEntropyOp::gradientFlops() {
  return flops();
}

double AllReduceOp::flops() {
  return elementsOf(getX());
}
double AllReduceOp::gradientFlops() {
  return 0;
}

} // namespace stagewright::layer
