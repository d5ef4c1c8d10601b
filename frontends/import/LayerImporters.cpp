#include "frontends/import/LayerImporters.h"

#include "frontends/layerspec/LayerTypes.h"

namespace stagewright {

const LayerImporters &layerImporters() {
  static const LayerImporters kTable = [] {
    LayerImporters table;
    for (auto add : {addLinear, addActivation, addArithmetic, addShape, addConvolution, addChannelNorm,
                     addDropout, addTransformer, addSequential, addLoss}) {
      add(table);
    }
    return table;
  }();
  return kTable;
}

/// Tokens are read by layers for tokens, and by no other.
static std::optional<Error> wrongElements(LayerContext &layer, const LayerType &type) {
  if (type.isLoss || type.inputType.empty()) {
    return std::nullopt;
  }
  for (unsigned i = 0; i < layer.inputs.size(); ++i) {
    bool areTokens = layer.inputType(i).getElementType().isInteger();
    if (areTokens && type.inputType != "i32") {
      return layer.mismatch("reads tokens (i32), but computes with numbers (f32)",
                            "put an Embedding between, or give the input the dtype f32");
    }
    if (!areTokens && type.inputType == "i32") {
      return layer.mismatch("reads numbers (f32), but needs tokens",
                            "let it read an input of dtype i32, which may be any layer's");
    }
  }
  return std::nullopt;
}

Result<mlir::Value> importLayer(LayerContext &layer, llvm::StringRef type) {
  LayerImporter import = layerImporters().lookup(type);
  if (!import) {
    return bugError("layer type " + type.str(), "it is listed but not imported");
  }
  if (std::optional<Error> refused = wrongElements(layer, *findLayerType(type.str()))) {
    return *refused;
  }
  Result<mlir::Value> value = import(layer);
  if (value && layer.failure()) {
    return *layer.failure();
  }
  if (!value) {
    return value;
  }
  if (std::string reason = beyondLimits(LayerContext::shapeOf(*value)); !reason.empty()) {
    return layer.mismatch("makes " + shapeText(LayerContext::shapeOf(*value)) + ", which " + reason,
                          "make the layer or train_micro_batch_size_per_gpu smaller");
  }
  return value;
}

} // namespace stagewright
