#include "ir/layer/LayerDialect.h"

#include "catalogue/Catalogue.h"
#include "ir/command/CommandDialect.h"

using namespace mlir;

namespace stagewright::layer {

const catalogue::Kernel *kernelOf(Operation *op) {
  auto kernel = dyn_cast<Kernel>(op);
  return kernel ? catalogue::find(kernel.kernelName(), static_cast<int>(kernel.kernelVersion())) : nullptr;
}

// clang-format off
//   batch_norm(x R, y W, mean W, variance W, weight R?):  op operands x, weight   op results y, mean, variance
//   adam(param RW, grad RW, learning_rate R, ...):        op operands all         op results param, grad, ...
// clang-format on
SmallVector<Value> kernelOperands(Operation *op) {
  SmallVector<Value> values;
  const catalogue::Kernel *entry = kernelOf(op);
  if (!entry) {
    return values;
  }
  unsigned operand = 0, result = 0;
  for (const catalogue::OperandRule &rule : entry->operands) {
    if (rule.access == catalogue::Access::Write) {
      if (result < op->getNumResults()) {
        values.push_back(op->getResult(result++));
      }
      continue;
    }
    if (operand < op->getNumOperands()) {
      values.push_back(op->getOperand(operand++));
      result += rule.access == catalogue::Access::ReadWrite;
    }
  }
  return values;
}

int tiedOperand(Operation *op, unsigned wanted) {
  const catalogue::Kernel *entry = kernelOf(op);
  if (!entry) {
    return -1;
  }
  unsigned operand = 0, result = 0;
  for (const catalogue::OperandRule &rule : entry->operands) {
    bool writes = rule.access != catalogue::Access::Read, reads = rule.access != catalogue::Access::Write;
    if (writes && result++ == wanted) {
      return reads ? static_cast<int>(operand) : -1;
    }
    operand += reads;
  }
  return -1;
}

DictionaryAttr kernelAttributes(Operation *op) {
  NamedAttrList list;
  for (NamedAttribute attribute : op->getAttrs()) {
    if (attribute.getName() != "operandSegmentSizes") {
      list.append(attribute);
    }
  }
  return list.getDictionary(op->getContext());
}

LogicalResult verifyKernel(Operation *op) {
  auto kernel = cast<Kernel>(op);
  const catalogue::Kernel *entry = kernelOf(op);
  if (!entry) {
    return op->emitOpError("has no kernel \"") << kernel.kernelName() << "\" in the catalogue";
  }
  // A weight of fp32 that is not packed may be the parameter itself, on which the op's own verifier looks.
  auto packed = dyn_cast<PackedOperand>(op);
  if (packed && !packed.isPacked() &&
      cast<RankedTensorType>(packed.packedOperand().get().getType()).getElementType().isF32()) {
    return success();
  }
  SmallVector<Value> values = kernelOperands(op);
  std::vector<catalogue::DType> dtypes;
  std::vector<catalogue::Shape> shapes;
  unsigned reads = 0, results = 0;
  for (auto [value, rule] : llvm::zip(values, entry->operands)) {
    auto type = cast<RankedTensorType>(value.getType());
    dtypes.push_back(command::dtypeOf(type.getElementType()).value());
    shapes.push_back(shapeOf(type));
    reads += rule.access != catalogue::Access::Write;
    results += rule.access != catalogue::Access::Read;
  }
  if (reads != op->getNumOperands() || results != op->getNumResults()) {
    return op->emitOpError("has ") << op->getNumOperands() << " operands and " << op->getNumResults()
                                   << " results, but its kernel is " << entry->signature;
  }
  FailureOr<std::vector<catalogue::Attribute>> attributes =
      command::catalogueAttributes(kernelAttributes(op));
  if (failed(attributes)) {
    return op->emitOpError("has an attribute of a kind that no kernel takes");
  }
  Result<void> checked = catalogue::check(*entry, dtypes, shapes, *attributes);
  if (!checked) {
    return op->emitOpError() << checked.error().what;
  }
  for (OpResult result : op->getResults()) {
    int tied = tiedOperand(op, result.getResultNumber());
    if (tied >= 0 && op->getOperand(tied).getType() != result.getType()) {
      return op->emitOpError("overwrites operand ") << tied << " by a result of another type";
    }
  }
  return success();
}

} // namespace stagewright::layer
