// Which weights are packed, and for what; which version of a kernel reads them.
#include "ir/layer/LayerDialect.h"

#include "catalogue/Catalogue.h"

using namespace mlir;

namespace stagewright::layer {
namespace {

int64_t rankOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getRank();
}

/// The elements that a product over x computes with.
StringRef roundOf(Value x) {
  Type element = cast<RankedTensorType>(x.getType()).getElementType();
  return element.isF16() ? "f16" : element.isBF16() ? "bf16" : "f32";
}

RankedTensorType packedConv2dType(Value weight) {
  return RankedTensorType::get({catalogue::packedConv2dElements(shapeOf(weight.getType()))},
                               cast<RankedTensorType>(weight.getType()).getElementType());
}

/// The weight, and a bias that may be missing.
SmallVector<OpOperand *> operandsOf(OpOperand &weight, MutableOperandRange bias) {
  SmallVector<OpOperand *> operands = {&weight};
  for (OpOperand &operand : bias) {
    operands.push_back(&operand);
  }
  return operands;
}

} // namespace

bool haveElementsOf(ArrayRef<OpOperand *> operands, Value like) {
  Type element = cast<RankedTensorType>(like.getType()).getElementType();
  return llvm::all_of(operands, [&](OpOperand *operand) {
    return cast<RankedTensorType>(operand->get().getType()).getElementType() == element;
  });
}

OpOperand &LinearOp::packedOperand() {
  return getWeightMutable();
}
StringRef LinearOp::packedSuffix() {
  return "/forward";
}
bool LinearOp::isPacked() {
  return rankOf(getWeight()) == 1;
}
int64_t LinearOp::kernelVersion() {
  return isPlain() ? 2 : 1;
}
SmallVector<OpOperand *> LinearOp::parameterOperands() {
  return operandsOf(getWeightMutable(), getBiasMutable());
}
Value LinearOp::buildPack(OpBuilder &builder, Location location, Value weight) {
  return PackLinearForwardOp::create(builder, location, weight, roundOf(getX()));
}

OpOperand &LinearInputGradOp::packedOperand() {
  return getWeightMutable();
}
StringRef LinearInputGradOp::packedSuffix() {
  return "/input_grad";
}
bool LinearInputGradOp::isPacked() {
  return rankOf(getWeight()) == 1;
}
int64_t LinearInputGradOp::kernelVersion() {
  return isPlain() ? 2 : 1;
}
SmallVector<OpOperand *> LinearInputGradOp::parameterOperands() {
  return {&getWeightMutable()};
}
Value LinearInputGradOp::buildPack(OpBuilder &builder, Location location, Value weight) {
  return PackLinearInputGradOp::create(builder, location, weight, roundOf(getG()));
}

OpOperand &Conv2dOp::packedOperand() {
  return getWeightMutable();
}
StringRef Conv2dOp::packedSuffix() {
  return "/forward";
}
bool Conv2dOp::isPacked() {
  return rankOf(getWeight()) == 1;
}
int64_t Conv2dOp::kernelVersion() {
  return isPlain() ? 2 : 1;
}
SmallVector<OpOperand *> Conv2dOp::parameterOperands() {
  return operandsOf(getWeightMutable(), getBiasMutable());
}
Value Conv2dOp::buildPack(OpBuilder &builder, Location location, Value weight) {
  return PackConv2dForwardOp::create(builder, location, packedConv2dType(weight), weight, getGroups(),
                                     roundOf(getX()));
}

OpOperand &Conv2dInputGradOp::packedOperand() {
  return getWeightMutable();
}
StringRef Conv2dInputGradOp::packedSuffix() {
  return "/input_grad";
}
bool Conv2dInputGradOp::isPacked() {
  return rankOf(getWeight()) == 1;
}
int64_t Conv2dInputGradOp::kernelVersion() {
  return isPlain() ? 2 : 1;
}
SmallVector<OpOperand *> Conv2dInputGradOp::parameterOperands() {
  return {&getWeightMutable()};
}
Value Conv2dInputGradOp::buildPack(OpBuilder &builder, Location location, Value weight) {
  return PackConv2dInputGradOp::create(builder, location, packedConv2dType(weight), weight, getGroups(),
                                       roundOf(getG()));
}

} // namespace stagewright::layer
