// Dropout.
#include "frontends/import/LayerImporters.h"

using namespace mlir;

namespace stagewright {

static Result<Value> dropout(LayerContext &layer) {
  double p = layer.argument<double>("p");
  if (p == 0) {
    return layer.inputs[0];
  }
  LayerContext::RandomNumbers random = layer.randomNumbers();
  return layer
      .make<layer::DropoutOp>(layer.inputs[0], random.value, layer.builder.getF64FloatAttr(p),
                              layer.builder.getI64IntegerAttr(random.block),
                              layer.builder.getI64IntegerAttr(random.ordinal))
      .getY();
}

void addDropout(LayerImporters &table) {
  table["Dropout"] = dropout;
}

} // namespace stagewright
