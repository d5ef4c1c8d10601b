// Elementwise activations.
#include "frontends/import/LayerImporters.h"

using namespace mlir;

namespace stagewright {

template <typename Op>
static Result<Value> elementwise(LayerContext &layer) {
  return layer.make<Op>(layer.inputs[0]).getY();
}

static Result<Value> gelu(LayerContext &layer) {
  return layer
      .make<layer::GeluOp>(layer.inputType(), layer.inputs[0], layer.argument<std::string>("approximate"))
      .getY();
}

void addActivation(LayerImporters &table) {
  table["ReLU"] = elementwise<layer::ReluOp>;
  table["Tanh"] = elementwise<layer::TanhOp>;
  table["GELU"] = gelu;
}

} // namespace stagewright
