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

static Result<Value> swiglu(LayerContext &layer) {
  if (layer.inputType(0) != layer.inputType(1)) {
    return layer.mismatch("reads shapes " + shapeText(layer.inputType(0).getShape()) + " and " +
                              shapeText(layer.inputType(1).getShape()),
                          "give both inputs the same shape: the gate, then what it gates");
  }
  return layer.make<layer::SwigluOp>(layer.inputs[0], layer.inputs[1]).getY();
}

void addActivation(LayerImporters &table) {
  table["ReLU"] = elementwise<layer::ReluOp>;
  table["Tanh"] = elementwise<layer::TanhOp>;
  table["GELU"] = gelu;
  table["Sigmoid"] = elementwise<layer::SigmoidOp>;
  table["SiLU"] = elementwise<layer::SiluOp>;
  table["SwiGLU"] = swiglu;
}

} // namespace stagewright
