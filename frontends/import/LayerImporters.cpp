#include "frontends/import/LayerImporters.h"

#include "frontends/layerspec/LayerTypes.h"

namespace stagewright {

const LayerImporters &layerImporters() {
  static const LayerImporters kTable = [] {
    LayerImporters table;
    for (auto add : {addLinear, addActivation, addArithmetic, addShape, addConvolution, addTransformer,
                     addSequential, addLoss}) {
      add(table);
    }
    return table;
  }();
  return kTable;
}

Result<mlir::Value> importLayer(LayerContext &layer, llvm::StringRef type) {
  LayerImporter import = layerImporters().lookup(type);
  if (!import) {
    return bugError("layer type " + type.str(), "it is listed but not imported");
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
