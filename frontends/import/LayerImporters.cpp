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
  return value;
}

} // namespace stagewright
