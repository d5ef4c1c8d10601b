// Layers that are matrix products.
#include "frontends/import/LayerImporters.h"

#include <cmath>

using namespace mlir;

namespace stagewright {

static Result<Value> linear(LayerContext &layer) {
  int64_t in = layer.argument<int64_t>("in_features"), out = layer.argument<int64_t>("out_features");
  RankedTensorType type = layer.inputType();
  if (type.getRank() != 2) {
    return layer.mismatch("needs an input [batch, " + std::to_string(in) + "], but gets " +
                              shapeText(type.getShape()),
                          "put a Flatten layer before it");
  }
  if (type.getDimSize(1) != in) {
    return layer.mismatch(
        "has in_features " + std::to_string(in) + ", but its input has shape " + shapeText(type.getShape()),
        "set in_features to " + std::to_string(type.getDimSize(1)) + " or change the layer before");
  }
  // torch.nn.Linear: kaiming_uniform with a = sqrt(5) is U(-1/sqrt(in), 1/sqrt(in)), for the bias too.
  Initializer uniform = Initializer::uniform(1 / std::sqrt(static_cast<double>(in)));
  Value weight = layer.parameter("weight", {out, in}, uniform);
  Value bias = layer.argument<bool>("bias") ? layer.parameter("bias", {out}, uniform) : Value();
  return layer.make<layer::LinearOp>(layer.f32({type.getDimSize(0), out}), layer.inputs[0], weight, bias)
      .getY();
}

void addLinear(LayerImporters &table) {
  table["Linear"] = linear;
}

} // namespace stagewright
