// Losses: they read the last layer, the label and the count of valid rows.
#include "frontends/import/LayerImporters.h"

using namespace mlir;

namespace stagewright {

static Result<Value> crossEntropy(LayerContext &loss) {
  RankedTensorType logits = loss.inputType(0), labels = loss.inputType(1);
  if (logits.getRank() != 2 || labels.getRank() != 1) {
    return loss.mismatch("needs logits [batch, classes] and one class index per sample, but gets " +
                             shapeText(logits.getShape()) + " and " + shapeText(labels.getShape()),
                         "end the layers with a Linear to the number of classes; give the label shape [] and "
                         "dtype i32");
  }
  constexpr int64_t kIgnoreIndex = -100, kRowsPerSample = 1; // PyTorch's default
  const llvm::APFloat smoothing(0.0);
  return loss
      .make<layer::SoftmaxCrossEntropyOp>(loss.inputs[0], loss.inputs[1], loss.inputs[2], kIgnoreIndex,
                                          smoothing, kRowsPerSample)
      .getLoss();
}

static Result<Value> meanSquaredError(LayerContext &loss) {
  if (loss.inputType(0) != loss.inputType(1)) {
    return loss.mismatch("compares shapes " + shapeText(loss.inputType(0).getShape()) + " and " +
                             shapeText(loss.inputType(1).getShape()),
                         "give the label input the last layer's shape and dtype f32");
  }
  return loss.make<layer::MseLossOp>(loss.inputs[0], loss.inputs[1], loss.inputs[2]).getLoss();
}

void addLoss(LayerImporters &table) {
  table["CrossEntropyLoss"] = crossEntropy;
  table["MSELoss"] = meanSquaredError;
}

} // namespace stagewright
