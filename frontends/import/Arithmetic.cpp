// Elementwise arithmetic on two tensors, broadcast as NumPy does.
#include "frontends/import/LayerImporters.h"

#include <numeric>

using namespace mlir;

namespace stagewright {

/// The shape to which both broadcast, or nothing.
static std::optional<SmallVector<int64_t>> broadcast(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  size_t rank = std::max(a.size(), b.size());
  SmallVector<int64_t> shape(rank);
  for (size_t i = 0; i < rank; ++i) { // from the last dimension
    int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      return std::nullopt;
    }
    shape[rank - 1 - i] = std::max(x, y);
  }
  return shape;
}

template <typename Op>
static Result<Value> binary(LayerContext &layer) {
  ArrayRef<int64_t> a = layer.inputType(0).getShape(), b = layer.inputType(1).getShape();
  Value operands[2] = {layer.inputs[0], layer.inputs[1]};
  size_t rank = std::max(a.size(), b.size());
  for (Value &operand : operands) { // the batch stays the batch: ones go behind it
    SmallVector<int64_t> shape(LayerContext::shapeOf(operand));
    shape.insert(shape.begin() + 1, rank - shape.size(), 1);
    operand = layer.reshape(operand, shape);
  }
  std::optional<SmallVector<int64_t>> shape =
      broadcast(LayerContext::shapeOf(operands[0]), LayerContext::shapeOf(operands[1]));
  if (!shape || a[0] != b[0]) {
    return layer.mismatch("reads " + shapeText(a) + " and " + shapeText(b) + ", which do not broadcast",
                          "of one sample, from the last dimension on, sizes must be equal or 1");
  }
  for (Value &operand : operands) {
    if (LayerContext::shapeOf(operand) != ArrayRef<int64_t>(*shape)) {
      operand = layer.make<layer::ExpandOp>(layer.f32(*shape), operand, layer.builder.getF64FloatAttr(1));
    }
  }
  return layer.make<Op>(operands[0], operands[1]).getY();
}

/// torch.matmul of two that have matrices in their last two dimensions, behind the batch.
static Result<Value> matmul(LayerContext &layer) {
  SmallVector<int64_t> a(layer.inputType(0).getShape()), b(layer.inputType(1).getShape());
  const std::string both = "multiplies " + shapeText(a) + " by " + shapeText(b);
  if (a.size() < 3 || b.size() < 3) {
    return layer.mismatch(both + ", and a sample of each needs rows and columns",
                          "give both two dimensions or more, without the batch (Reshape), or use Linear");
  }
  const int64_t rows = a[a.size() - 2], inner = a.back(), columns = b.back();
  size_t rank = std::max(a.size(), b.size());
  for (SmallVector<int64_t> *shape : {&a, &b}) {
    shape->insert(shape->begin() + 1, rank - shape->size(), 1);
  }
  std::optional<SmallVector<int64_t>> outer = broadcast(ArrayRef(a).drop_back(2), ArrayRef(b).drop_back(2));
  if (inner != b[rank - 2] || !outer || a[0] != b[0]) {
    return layer.mismatch(
        both + ", which do not fit",
        "the first one's columns are as many as the second one's rows, and dimensions before "
        "them are equal or 1");
  }
  const int64_t count = std::accumulate(outer->begin(), outer->end(), int64_t{1}, std::multiplies<>());
  const auto matrices = [&](Value operand, ArrayRef<int64_t> shape) {
    SmallVector<int64_t> whole(*outer), flat{count};
    whole.append(shape.end() - 2, shape.end());
    flat.append(shape.end() - 2, shape.end());
    operand = layer.reshape(operand, shape);
    if (ArrayRef<int64_t>(whole) != shape) {
      operand = layer.make<layer::ExpandOp>(layer.f32(whole), operand, layer.builder.getF64FloatAttr(1));
    }
    return layer.reshape(operand, flat);
  };
  Value left = matrices(layer.inputs[0], a), right = matrices(layer.inputs[1], b);
  Value product = layer.make<layer::MatmulOp>(layer.f32({count, rows, columns}), left, right);
  outer->append({rows, columns});
  return layer.reshape(product, *outer);
}

void addArithmetic(LayerImporters &table) {
  table["Add"] = binary<layer::AddOp>;
  table["Subtract"] = binary<layer::SubtractOp>;
  table["Multiply"] = binary<layer::MultiplyOp>;
  table["Divide"] = binary<layer::DivideOp>;
  table["MatMul"] = matmul;
}

} // namespace stagewright
