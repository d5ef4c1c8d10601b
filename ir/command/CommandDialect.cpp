// Registration of the command dialect.
#include "ir/command/CommandDialect.h"

#include "ir/Limits.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

#include "generated/command/CommandDialect.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "generated/command/CommandAttributes.cpp.inc"
#define GET_OP_CLASSES
#include "generated/command/CommandOps.cpp.inc"

namespace stagewright::command {

void CommandDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "generated/command/CommandAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "generated/command/CommandOps.cpp.inc"
      >();
}

std::optional<catalogue::DType> dtypeOf(Type type) {
  using catalogue::DType;
  if (type.isF32()) {
    return DType::F32;
  }
  if (type.isF16()) {
    return DType::F16;
  }
  if (type.isBF16()) {
    return DType::BF16;
  }
  if (type.isF64()) {
    return DType::F64;
  }
  if (type.isSignlessInteger(32)) {
    return DType::I32;
  }
  if (type.isSignlessInteger(64)) {
    return DType::I64;
  }
  return std::nullopt;
}

bool isStorable(Type type) {
  return isWithinLimits(type) && dtypeOf(cast<RankedTensorType>(type).getElementType());
}

int64_t byteSize(RankedTensorType type) {
  return type.getNumElements() * (type.getElementTypeBitWidth() / 8);
}

FailureOr<std::vector<catalogue::Attribute>> catalogueAttributes(DictionaryAttr attributes) {
  std::vector<catalogue::Attribute> list;
  for (NamedAttribute entry : attributes) {
    catalogue::Attribute attribute{entry.getName().str(), int64_t{0}};
    auto typed = dyn_cast<TypedAttr>(entry.getValue());
    if (auto integer = dyn_cast<IntegerAttr>(entry.getValue());
        integer && typed.getType().isSignlessInteger(64)) {
      attribute.value = integer.getInt();
    } else if (auto real = dyn_cast<FloatAttr>(entry.getValue()); real && typed.getType().isF64()) {
      attribute.value = real.getValueAsDouble();
    } else if (auto text = dyn_cast<StringAttr>(entry.getValue())) {
      attribute.value = text.str();
    } else if (auto integers = dyn_cast<DenseI64ArrayAttr>(entry.getValue())) {
      attribute.value = std::vector<int64_t>(integers.asArrayRef());
    } else {
      return failure();
    }
    list.push_back(std::move(attribute));
  }
  return list;
}

} // namespace stagewright::command
