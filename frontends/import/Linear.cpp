// Layers that are matrix products.
#include "frontends/import/LayerImporters.h"

#include <cmath>

using namespace mlir;

namespace stagewright {

static Result<Value> linear(LayerContext &layer) {
  int64_t in = layer.argument<int64_t>("in_features"), out = layer.argument<int64_t>("out_features");
  RankedTensorType type = layer.inputType();
  if (type.getRank() < 2) {
    return layer.mismatch("needs an input [batch, ..., " + std::to_string(in) + "], but gets " +
                              shapeText(type.getShape()),
                          "give the input a last dimension of that size");
  }
  int64_t last = type.getShape().back();
  if (last != in) {
    return layer.mismatch("has in_features " + std::to_string(in) + ", but its input has shape " +
                              shapeText(type.getShape()),
                          "set in_features to " + std::to_string(last) +
                              ", put a Flatten layer before it, or change the layer before");
  }
  // torch.nn.Linear: kaiming_uniform with a = sqrt(5) is U(-1/sqrt(in), 1/sqrt(in)), for the bias too.
  Initializer uniform = Initializer::uniform(1 / std::sqrt(static_cast<double>(in)));
  Value weight = layer.parameter("weight", {out, in}, uniform);
  Value bias = layer.argument<bool>("bias") ? layer.parameter("bias", {out}, uniform) : Value();
  Value rows = layer.asRows(layer.inputs[0]);
  Value y = layer.make<layer::LinearOp>(layer.f32({LayerContext::shapeOf(rows)[0], out}), rows, weight, bias);
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = out;
  return layer.reshape(y, shape);
}

void addLinear(LayerImporters &table) {
  table["Linear"] = linear;
}

} // namespace stagewright
