#include "frontends/import/LayerContext.h"

#include "catalogue/Catalogue.h"
#include "frontends/layerspec/ModelCheck.h"

using namespace mlir;

namespace stagewright {

std::string shapeText(ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (int64_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

std::string beyondLimits(ArrayRef<int64_t> shape) {
  if (shape.size() > catalogue::kMaxDimensions) {
    return "has " + std::to_string(shape.size()) + " dimensions, but the most are " +
           std::to_string(catalogue::kMaxDimensions);
  }
  int64_t elements = catalogue::elements({shape.begin(), shape.end()});
  return elements >= 0 && elements <= catalogue::kMaxElements
             ? ""
             : "has more than the " + std::to_string(catalogue::kMaxElements) +
                   " elements that a tensor may have";
}

Error LayerContext::mismatch(const std::string &what, std::string advice) const {
  const std::string named = spec.name == spec.type ? spec.type : "\"" + spec.name + "\" (" + spec.type + ")";
  std::string who = isLoss ? "the loss " + named : "layer " + path + " (" + spec.type + ")";
  return userError(placeOf(spec.position, who), who + " " + what, std::move(advice));
}

Value LayerContext::reshape(Value x, ArrayRef<int64_t> shape) {
  auto type = cast<RankedTensorType>(x.getType());
  if (type.getShape() == shape) {
    return x;
  }
  return make<layer::ReshapeOp>(RankedTensorType::get(shape, type.getElementType()), x);
}

Value LayerContext::asRows(Value x, unsigned dimensions) {
  ArrayRef<int64_t> shape = shapeOf(x);
  int64_t columns = 1;
  for (int64_t size : shape.take_back(dimensions)) {
    columns *= size;
  }
  return reshape(x, {layer::elementCount(x) / columns, columns});
}

std::string LayerContext::declare(StringRef name, const char *kind, ArrayRef<int64_t> shape) {
  std::string fullName = path + "." + name.str();
  std::string reason = beyondLimits(shape);
  if (!error && !reason.empty()) {
    error = mismatch("has the " + std::string(kind) + " " + name.str() + " of shape " + shapeText(shape) +
                         ", which " + reason,
                     "make the layer smaller");
  }
  if (!parameters.names.insert(fullName).second && !error) {
    error = mismatch("has the " + std::string(kind) + " " + fullName + ", which an earlier layer has too",
                     "give one of the two layers another name");
  }
  return fullName;
}

Value LayerContext::parameter(StringRef name, ArrayRef<int64_t> shape, Initializer initializer) {
  RankedTensorType type = f32(shape);
  if (spec.initialDeviation && initializer.kind != llvm::StringRef("constant")) {
    const std::optional<int64_t> zeroRow = initializer.zeroRow;
    initializer = name == "bias" ? Initializer::constant(0) : Initializer::normal(*spec.initialDeviation);
    initializer.zeroRow = zeroRow;
  }
  if (!spec.tied.empty() && name == "weight") {
    if (!trainable && !error) {
      error = mismatch("is tied and not trainable: this version trains the weight that layers share",
                       "remove \"trainable\": false, or \"tied\"");
    }
    auto [tied, isFirst] =
        parameters.tied.try_emplace(spec.tied, ParameterTable::Tied{path + "." + name.str(), type, 1});
    if (!isFirst) {
      return tiedWeight(tied->second, shape);
    }
  }
  std::string fullName = declare(name, "parameter", shape);
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(model);
    make<layer::ParameterOp>(
        builder.getStringAttr(fullName), builder.getStringAttr(block), TypeAttr::get(type),
        builder.getStringAttr(initializer.kind), builder.getF64FloatAttr(initializer.bound),
        builder.getF64FloatAttr(initializer.value), trainable ? UnitAttr() : builder.getUnitAttr(),
        IntegerAttr(), initializer.zeroRow ? builder.getI64IntegerAttr(*initializer.zeroRow) : IntegerAttr(),
        DenseI64ArrayAttr());
  }
  return make<layer::ParameterValueOp>(type, fullName);
}

Value LayerContext::tiedWeight(ParameterTable::Tied &tied, ArrayRef<int64_t> shape) {
  if (tied.type.getShape() != shape) {
    Error refused =
        mismatch("shares the parameter " + tied.name + " of shape " + shapeText(tied.type.getShape()) +
                     ", but needs one of shape " + shapeText(shape),
                 "choose sizes that fit, or remove \"tied\"");
    error = error ? error : std::optional(refused);
    return make<layer::ParameterValueOp>(f32(shape), tied.name);
  }
  Value value = make<layer::ParameterValueOp>(tied.type, tied.name);
  return make<layer::ParameterUseOp>(value, tied.uses++);
}

Value LayerContext::buffer(StringRef name, RankedTensorType type, double value) {
  std::string fullName = declare(name, "buffer", type.getShape());
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(model);
    make<layer::BufferOp>(builder.getStringAttr(fullName), builder.getStringAttr(block), TypeAttr::get(type),
                          builder.getF64FloatAttr(value));
  }
  return make<layer::BufferValueOp>(type, fullName);
}

LayerContext::RandomNumbers LayerContext::randomNumbers() {
  if (!random->value) {
    auto type = RankedTensorType::get({4}, builder.getI32Type());
    random->value = builder.getInsertionBlock()->addArgument(type, location);
    named->emplace_back("", random->value);
  }
  RandomNumbers own = *random;
  ++random->ordinal;
  return own;
}

Value LayerContext::feature(const char *argumentName) {
  const auto &name = argument<std::string>(argumentName);
  if (name.empty()) {
    return {};
  }
  for (auto &[known, value] : *named) {
    if (known == name) {
      return value;
    }
  }
  Value value = builder.getInsertionBlock()->addArgument(parameters.inputs.lookup(name), location);
  named->emplace_back(name, value);
  return value;
}

void LayerContext::updateBuffer(Value read, Value value) {
  make<layer::BufferUpdateOp>(read.getDefiningOp<layer::BufferValueOp>().getBuffer(), value);
}

} // namespace stagewright
