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

/// torch.Tensor.reshape of a sample: the batch stays, one size may be -1.
static Result<Value> reshape(LayerContext &layer) {
  ArrayRef<int64_t> sizes = layer.inputType().getShape();
  SmallVector<int64_t> shape = {sizes[0]};
  llvm::append_range(shape, layer.argument<std::vector<int64_t>>("shape"));
  int64_t known = 1, *open = nullptr;
  bool isWrong = false;
  for (int64_t &size : shape) {
    if (size == -1) {
      isWrong |= open != nullptr;
      open = &size;
    } else {
      isWrong |= size == 0 || __builtin_mul_overflow(known, size, &known);
    }
  }
  int64_t elements = layer::elementCount(layer.inputs[0]);
  if (isWrong || known <= 0 || (open ? elements % known != 0 : elements != known)) {
    return layer.mismatch("cannot give " + shapeText(sizes) + " the shape " +
                              shapeText(layer.argument<std::vector<int64_t>>("shape")) + " per sample",
                          "name the sizes of one sample, at most one of them -1");
  }
  if (open) {
    *open = elements / known;
  }
  // A value of its own also where the shape stays: its gradients are added at its place under every cut.
  return layer.make<layer::ReshapeOp>(layer.f32(shape), layer.inputs[0]).getY();
}

static Result<Value> permute(LayerContext &layer) {
  ArrayRef<int64_t> sizes = layer.inputType().getShape();
  const auto &dims = layer.argument<std::vector<int64_t>>("dims");
  SmallVector<int64_t> shape, sorted(dims.begin(), dims.end());
  llvm::sort(sorted);
  bool isPermutation = dims.size() == sizes.size();
  for (size_t i = 0; isPermutation && i < dims.size(); ++i) {
    isPermutation = sorted[i] == static_cast<int64_t>(i);
  }
  if (!isPermutation || dims[0] != 0) {
    return layer.mismatch("cannot order the dimensions of " + shapeText(sizes) + " as " + shapeText(dims),
                          "name every dimension once, the batch (0) first");
  }
  for (int64_t dim : dims) {
    shape.push_back(sizes[dim]);
  }
  return layer.make<layer::PermuteOp>(layer.f32(shape), layer.inputs[0], ArrayRef<int64_t>(dims)).getY();
}

/// `length` elements from `start` on, along `dim`, of which negative ones count from the end.
static Result<Value> narrowed(LayerContext &layer, int64_t start, int64_t length) {
  SmallVector<int64_t> shape(layer.inputType().getShape());
  auto rank = static_cast<int64_t>(shape.size());
  int64_t given = layer.argument<int64_t>("dim"), dim = given < 0 ? given + rank : given;
  if (dim < 1 || dim >= rank) {
    return layer.mismatch("has no dimension " + std::to_string(given) + " to cut in " + shapeText(shape),
                          "use a dimension between 1 and " + std::to_string(rank - 1));
  }
  int64_t from = start < 0 ? start + shape[dim] : start;
  if (from < 0 || length > shape[dim] - from) {
    return layer.mismatch("takes " + std::to_string(length) + " elements from " + std::to_string(start) +
                              " on along dimension " + std::to_string(given) + " of " + shapeText(shape),
                          "stay inside the " + std::to_string(shape[dim]) + " that there are");
  }
  SmallVector<int64_t> starts(shape.size(), 0);
  starts[dim] = from;
  shape[dim] = length;
  return layer.make<layer::SliceOp>(layer.f32(shape), layer.inputs[0], ArrayRef<int64_t>(starts)).getY();
}

static Result<Value> narrow(LayerContext &layer) {
  return narrowed(layer, layer.argument<int64_t>("start"), layer.argument<int64_t>("length"));
}

/// torch.select: the dimension goes away.
static Result<Value> select(LayerContext &layer) {
  Result<Value> one = narrowed(layer, layer.argument<int64_t>("index"), 1);
  if (!one) {
    return one;
  }
  SmallVector<int64_t> shape(LayerContext::shapeOf(*one));
  int64_t dim = layer.argument<int64_t>("dim");
  shape.erase(shape.begin() + (dim < 0 ? dim + static_cast<int64_t>(shape.size()) : dim));
  return layer.reshape(*one, shape);
}

static Result<Value> concat(LayerContext &layer) {
  int64_t rank = layer.inputType().getRank(), dim = layer.argument<int64_t>("dim");
  dim = dim < 0 ? dim + rank : dim;
  if (dim < 1 || dim >= rank) {
    return layer.mismatch("cannot join along dimension " + std::to_string(layer.argument<int64_t>("dim")) +
                              " of " + shapeText(layer.inputType().getShape()),
                          "use a dimension between 1 and " + std::to_string(rank - 1));
  }
  Value joined = layer.inputs[0];
  for (Value next : ArrayRef(layer.inputs).drop_front()) {
    SmallVector<int64_t> shape(LayerContext::shapeOf(joined)), other(LayerContext::shapeOf(next));
    bool fits = other.size() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) {
      fits = static_cast<int64_t>(i) == dim || shape[i] == other[i];
    }
    if (!fits) {
      return layer.mismatch("joins " + shapeText(shape) + " and " + shapeText(other) + " along dimension " +
                                std::to_string(dim),
                            "all other sizes must be equal");
    }
    shape[dim] += other[dim];
    joined = layer.make<layer::ConcatOp>(layer.f32(shape), joined, next, dim);
  }
  return joined;
}

/// Over dimensions of a sample; the mean where it is wanted.
static Result<Value> reduce(LayerContext &layer, bool isMean) {
  ArrayRef<int64_t> sizes = layer.inputType().getShape();
  auto rank = static_cast<int64_t>(sizes.size());
  SmallVector<int64_t> ones(sizes), kept;
  SmallVector<bool> reduced(sizes.size(), false);
  int64_t count = 1;
  for (int64_t dim : layer.argument<std::vector<int64_t>>("dim")) {
    int64_t at = dim < 0 ? dim + rank : dim;
    if (at < 1 || at >= rank) {
      return layer.mismatch("has no dimension " + std::to_string(dim) + " to add up in " + shapeText(sizes),
                            "use dimensions between 1 and " + std::to_string(rank - 1));
    }
    count *= ones[at];
    ones[at] = 1;
    reduced[at] = true;
  }
  for (int64_t i = 0; i < rank; ++i) {
    if (layer.argument<bool>("keepdim") || !reduced[i]) {
      kept.push_back(ones[i]);
    }
  }
  const double scale = isMean ? 1 / static_cast<double>(count) : 1;
  Value sum =
      layer.make<layer::ReduceSumOp>(layer.f32(ones), layer.inputs[0], layer.builder.getF64FloatAttr(scale));
  return layer.reshape(sum, kept);
}

void addShape(LayerImporters &table) {
  table["Reshape"] = reshape;
  table["Permute"] = permute;
  table["Concat"] = concat;
  table["Narrow"] = narrow;
  table["Select"] = select;
  table["Mean"] = [](LayerContext &layer) { return reduce(layer, true); };
  table["Sum"] = [](LayerContext &layer) { return reduce(layer, false); };
  table["Flatten"] = flatten;
}

} // namespace stagewright
