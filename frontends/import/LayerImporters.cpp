#include "frontends/import/LayerImporters.h"

namespace stagewright {

const LayerImporters &layerImporters() {
  static const LayerImporters kTable = [] {
    LayerImporters table;
    for (auto add : {addLinear, addActivation, addShape, addLoss}) {
      add(table);
    }
    return table;
  }();
  return kTable;
}

} // namespace stagewright
