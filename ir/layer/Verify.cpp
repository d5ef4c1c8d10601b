// Verifiers of the layer dialect. Shape mistakes of a model file are found here, at the layer's place in the
// file.
#include "ir/layer/LayerDialect.h"

#include "catalogue/Catalogue.h"

using namespace mlir;

namespace stagewright::layer {
namespace {

RankedTensorType tensorOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

bool isMatrix(Value value) {
  return tensorOf(value).getRank() == 2;
}

std::string shapeText(Value value) {
  std::string text = "[";
  for (int64_t size : tensorOf(value).getShape()) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

/// A weight operand: plain [n, k], or packed by contraction and columns.
LogicalResult verifyWeight(Operation *op, Value weight, int64_t n, int64_t k, int64_t contraction,
                           int64_t columns) {
  RankedTensorType type = tensorOf(weight);
  bool plain = type.getRank() == 2 && type.getDimSize(0) == n && type.getDimSize(1) == k;
  bool packed = type.getRank() == 1 && type.getDimSize(0) == catalogue::packedElements(contraction, columns);
  if (!plain && !packed) {
    return op->emitOpError("has a weight of shape ")
           << shapeText(weight) << ", but needs [" << n << ", " << k << "]";
  }
  return success();
}

} // namespace

LogicalResult ParameterOp::verify() {
  StringRef kind = getInitializer();
  if (kind != "uniform" && kind != "constant" && kind != "normal") {
    return emitOpError("has unknown initializer \"") << kind << "\" (known: uniform, constant, normal)";
  }
  return success();
}

LogicalResult InputOp::verify() {
  if (!isOfSamples() && getRole() != "rows" && getRole() != "random" && getRole() != "tensor_rank" &&
      getRole() != "tensor_random") {
    return emitOpError("has unknown role \"")
           << getRole() << "\" (known: feature, label, rows, random, tensor_rank, tensor_random)";
  }
  if (getDeviation().isZero()) {
    return emitOpError("has deviation 0, by which values would be divided");
  }
  return success();
}

LogicalResult ModelOp::verifyRegions() {
  Block &block = getBody().front();
  auto yield = dyn_cast<YieldOp>(block.empty() ? nullptr : &block.back());
  auto module = dyn_cast<ModuleOp>((*this)->getParentOp());
  if (!module) {
    return emitOpError("must stand in a module");
  }
  auto losses = module.getOps<LossOp>();
  size_t wanted = losses.empty() ? 0 : (*losses.begin()).getAccuracy() ? 2 : 1;
  if (!yield || wanted == 0 || yield.getValues().size() != wanted) {
    return emitOpError(
        "must end in a yield of the loss (and the count of correct rows) that layer.loss declares");
  }
  size_t inputs = llvm::range_size(module.getOps<InputOp>());
  if (block.getNumArguments() != inputs) {
    return emitOpError("has ") << block.getNumArguments() << " arguments for " << inputs << " inputs";
  }
  return success();
}

LogicalResult BlockOp::verifyRegions() {
  Block &block = getBody().front();
  if (block.getArgumentTypes() != getInputs().getTypes()) {
    return emitOpError("has arguments that differ from its inputs");
  }
  auto yield = dyn_cast<YieldOp>(block.empty() ? nullptr : &block.back());
  if (!yield || yield.getValues().getTypes() != getOutputs().getTypes()) {
    return emitOpError("must end in a yield of its results");
  }
  return success();
}

LogicalResult ParameterValueOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto parameter = symbols.lookupNearestSymbolFrom<ParameterOp>(*this, getParameterAttr());
  if (!parameter) {
    return emitOpError("reads @") << getParameter() << ", which no layer.parameter declares";
  }
  if (parameter.getType() != getValue().getType()) {
    return emitOpError("reads @") << getParameter() << " as " << getValue().getType() << ", but it is "
                                  << parameter.getType();
  }
  return success();
}

/// A use of a buffer names a declared one, by its type.
static LogicalResult verifyBuffer(Operation *op, FlatSymbolRefAttr name, Type type,
                                  SymbolTableCollection &symbols) {
  auto buffer = symbols.lookupNearestSymbolFrom<BufferOp>(op, name);
  if (!buffer) {
    return op->emitOpError("names @") << name.getValue() << ", which no layer.buffer declares";
  }
  if (buffer.getType() != type) {
    return op->emitOpError("takes @")
           << name.getValue() << " for " << type << ", but it is " << buffer.getType();
  }
  return success();
}

LogicalResult BufferValueOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyBuffer(*this, getBufferAttr(), getValue().getType(), symbols);
}

LogicalResult BufferUpdateOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyBuffer(*this, getBufferAttr(), getValue().getType(), symbols);
}

LogicalResult ReshapeOp::verify() {
  if (elementCount(getX()) != elementCount(getY())) {
    return emitOpError("cannot turn ") << shapeText(getX()) << " into " << shapeText(getY());
  }
  return success();
}

LogicalResult LinearOp::verify() {
  if (!isMatrix(getX()) || !isMatrix(getY()) ||
      tensorOf(getX()).getDimSize(0) != tensorOf(getY()).getDimSize(0)) {
    return emitOpError("needs an input [rows, in_features] and an output [rows, out_features], but has ")
           << shapeText(getX()) << " and " << shapeText(getY());
  }
  int64_t k = tensorOf(getX()).getDimSize(1), n = tensorOf(getY()).getDimSize(1);
  if (getBias() && (tensorOf(getBias()).getRank() != 1 || tensorOf(getBias()).getDimSize(0) != n)) {
    return emitOpError("has a bias of shape ") << shapeText(getBias()) << ", but needs [" << n << "]";
  }
  return verifyWeight(*this, getWeight(), n, k, k, n);
}

LogicalResult LinearInputGradOp::verify() {
  if (!isMatrix(getG()) || !isMatrix(getDx()) ||
      tensorOf(getG()).getDimSize(0) != tensorOf(getDx()).getDimSize(0)) {
    return emitOpError("needs gradients [rows, out_features] and [rows, in_features]");
  }
  int64_t n = tensorOf(getG()).getDimSize(1), k = tensorOf(getDx()).getDimSize(1);
  return verifyWeight(*this, getWeight(), n, k, n, k);
}

} // namespace stagewright::layer
