// The importers of layer types, by torch.nn's names.
#ifndef STAGEWRIGHT_FRONTENDS_IMPORT_LAYERIMPORTERS_H
#define STAGEWRIGHT_FRONTENDS_IMPORT_LAYERIMPORTERS_H

#include "frontends/import/LayerContext.h"

#include "llvm/ADT/StringMap.h"

namespace stagewright {

/// Builds the ops of one layer and returns its value; of a loss, the loss of the micro-batch. Errors: what it
/// reads does not fit (LayerContext::mismatch).
using LayerImporter = Result<mlir::Value> (*)(LayerContext &layer);
using LayerImporters = llvm::StringMap<LayerImporter>;

/// One entry per entry of layerTypes(); a test compares the two.
const LayerImporters &layerImporters();

/// Builds a layer of this type and returns its value.
Result<mlir::Value> importLayer(LayerContext &layer, llvm::StringRef type);

/// Of a loss of classes, its metric "accuracy": how many labels the largest logit names.
mlir::Value countCorrect(LayerContext &loss);

// One per family, each in the file of its name.
void addDropout(LayerImporters &table);
void addLinear(LayerImporters &table);
void addActivation(LayerImporters &table);
void addArithmetic(LayerImporters &table);
void addChannelNorm(LayerImporters &table);
void addConvolution(LayerImporters &table);
void addTransformer(LayerImporters &table);
void addSequential(LayerImporters &table);
void addShape(LayerImporters &table);
void addLoss(LayerImporters &table);

} // namespace stagewright

#endif
