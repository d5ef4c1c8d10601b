// Result types that follow from operands.
#include "ir/layer/LayerDialect.h"

#include "catalogue/Catalogue.h"

using namespace mlir;

namespace stagewright::layer {
namespace {

RankedTensorType vectorOf(int64_t size, Type element) {
  return RankedTensorType::get({size}, element);
}

RankedTensorType typeOf(ValueRange operands, int index) {
  return cast<RankedTensorType>(operands[index].getType());
}

/// "x of rank >= `rank`", so that wrong operands fail instead of reading past the shape.
bool hasRank(ValueRange operands, int index, int64_t rank) {
  return index < static_cast<int>(operands.size()) && isa<RankedTensorType>(operands[index].getType()) &&
         typeOf(operands, index).getRank() >= rank;
}

} // namespace

#define STAGEWRIGHT_INFER(Op)                                                                                \
  LogicalResult Op::inferReturnTypes(MLIRContext *context, std::optional<Location> location,                 \
                                     ValueRange operands, DictionaryAttr, OpaqueProperties, RegionRange,     \
                                     SmallVectorImpl<Type> &types)

STAGEWRIGHT_INFER(SoftmaxCrossEntropyOp) {
  if (!hasRank(operands, 0, 1)) {
    return failure();
  }
  Type f32 = Float32Type::get(context);
  types.assign({vectorOf(1, f32), vectorOf(typeOf(operands, 0).getDimSize(0), f32), vectorOf(1, f32)});
  return success();
}

STAGEWRIGHT_INFER(MseLossOp) {
  types.push_back(vectorOf(1, Float32Type::get(context)));
  return success();
}

STAGEWRIGHT_INFER(BceWithLogitsOp) {
  types.push_back(vectorOf(1, Float32Type::get(context)));
  return success();
}

STAGEWRIGHT_INFER(AppendLossOp) {
  if (!hasRank(operands, 0, 1)) {
    return failure();
  }
  types.push_back(vectorOf(typeOf(operands, 0).getDimSize(0) + 1, Float32Type::get(context)));
  return success();
}

STAGEWRIGHT_INFER(CountCorrectOp) {
  types.push_back(vectorOf(1, IntegerType::get(context, 64)));
  return success();
}

STAGEWRIGHT_INFER(PackLinearForwardOp) {
  if (!hasRank(operands, 0, 2)) {
    return failure();
  }
  RankedTensorType weight = typeOf(operands, 0);
  types.push_back(vectorOf(catalogue::packedElements(weight.getDimSize(1), weight.getDimSize(0)),
                           Float32Type::get(context)));
  return success();
}

STAGEWRIGHT_INFER(PackLinearInputGradOp) {
  if (!hasRank(operands, 0, 2)) {
    return failure();
  }
  RankedTensorType weight = typeOf(operands, 0);
  types.push_back(vectorOf(catalogue::packedElements(weight.getDimSize(0), weight.getDimSize(1)),
                           Float32Type::get(context)));
  return success();
}

STAGEWRIGHT_INFER(GradientNormPartialsOp) {
  if (!hasRank(operands, 0, 0)) {
    return failure();
  }
  types.push_back(
      vectorOf(catalogue::granules(typeOf(operands, 0).getNumElements()), Float64Type::get(context)));
  return success();
}

#undef STAGEWRIGHT_INFER

} // namespace stagewright::layer
