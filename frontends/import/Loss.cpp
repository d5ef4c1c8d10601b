// Losses: they read the last layer, the label and the count of valid rows.
#include "frontends/import/LayerImporters.h"

using namespace mlir;

namespace stagewright {

/// Of labels [batch, ...].
static int64_t rowsPerSample(RankedTensorType labels) {
  return labels.getNumElements() / labels.getDimSize(0);
}

Value countCorrect(LayerContext &loss) {
  return loss.make<layer::CountCorrectOp>(loss.asRows(loss.inputs[0]), loss.asVector(loss.inputs[1]),
                                          loss.inputs[2], rowsPerSample(loss.inputType(1)));
}

static Result<Value> crossEntropy(LayerContext &loss) {
  RankedTensorType logits = loss.inputType(0), labels = loss.inputType(1);
  if (logits.getRank() < 2 || logits.getShape().drop_back() != labels.getShape()) {
    return loss.mismatch(
        "needs logits [batch, ..., classes] and a class index for each row of them, but gets " +
            shapeText(logits.getShape()) + " and " + shapeText(labels.getShape()),
        "end the layers with a Linear to the number of classes; give the label dtype i32 and shape [], or "
        "[length] where each token has a class");
  }
  return loss
      .make<layer::SoftmaxCrossEntropyOp>(loss.asRows(loss.inputs[0]), loss.asVector(loss.inputs[1]),
                                          loss.inputs[2], loss.argument<int64_t>("ignore_index"),
                                          llvm::APFloat(loss.argument<double>("label_smoothing")),
                                          rowsPerSample(labels))
      .getLoss();
}

/// A loss of numbers and as many targets.
template <typename Op>
static Result<Value> ofNumbers(LayerContext &loss) {
  if (loss.inputType(0) != loss.inputType(1)) {
    return loss.mismatch("compares shapes " + shapeText(loss.inputType(0).getShape()) + " and " +
                             shapeText(loss.inputType(1).getShape()),
                         "give the label the layer's shape, or let the loss read another layer");
  }
  return loss.make<Op>(loss.inputs[0], loss.inputs[1], loss.inputs[2]).getLoss();
}

void addLoss(LayerImporters &table) {
  table["CrossEntropyLoss"] = crossEntropy;
  table["MSELoss"] = ofNumbers<layer::MseLossOp>;
  table["BCEWithLogitsLoss"] = ofNumbers<layer::BceWithLogitsOp>;
}

} // namespace stagewright
