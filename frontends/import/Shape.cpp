// Layers that change the shape alone.
#include "frontends/import/LayerImporters.h"

using namespace mlir;

namespace stagewright {

static Result<Value> flatten(LayerContext &layer) {
  ArrayRef<int64_t> sizes = layer.inputType().getShape();
  auto rank = static_cast<int64_t>(sizes.size());
  int64_t start = layer.argument<int64_t>("start_dim"), end = layer.argument<int64_t>("end_dim");
  int64_t from = start < 0 ? start + rank : start, to = end < 0 ? end + rank : end;
  if (from < 0 || to >= rank || from > to) {
    return layer.mismatch("cannot flatten dimensions " + std::to_string(start) + " to " +
                              std::to_string(end) + " of " + shapeText(sizes),
                          "use dimensions between 0 and " + std::to_string(rank - 1) + ", start_dim first");
  }
  if (from == 0 && to > 0) {
    return layer.mismatch("would flatten the batch dimension away", "set start_dim to 1");
  }
  SmallVector<int64_t> shape(sizes.take_front(from));
  int64_t product = 1; // of an input within limits
  for (int64_t size : sizes.slice(from, to - from + 1)) {
    product *= size;
  }
  shape.push_back(product);
  llvm::append_range(shape, sizes.drop_front(to + 1));
  return layer.make<layer::ReshapeOp>(layer.f32(shape), layer.inputs[0]).getY();
}

void addShape(LayerImporters &table) {
  table["Flatten"] = flatten;
}

} // namespace stagewright
