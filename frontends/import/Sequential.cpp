// A list of layers inside one LayerSpec.
#include "frontends/import/LayerImporters.h"
#include "frontends/layerspec/LayerTypes.h"

#include "llvm/ADT/StringMap.h"

using namespace mlir;

namespace stagewright {

static Result<Value> sequential(LayerContext &sequence) {
  llvm::StringMap<Value> values;
  for (auto [index, input] : llvm::enumerate(sequence.inputs)) {
    values[index == 0 ? "input" : "input:" + std::to_string(index)] = input;
  }
  Value last;
  for (const LayerSpec &layer : sequence.layers()) {
    SmallVector<Value> read;
    for (const std::string &name : layer.inputs) {
      read.push_back(values.lookup(name));
    }
    LayerContext inner(sequence, layer, read);
    Result<Value> value = importLayer(inner, layer.type);
    if (!value) {
      return value;
    }
    last = values[layer.name] = *value;
  }
  return last;
}

void addSequential(LayerImporters &table) {
  table[kSequential] = sequential;
}

} // namespace stagewright
