// Builds the layer dialect from a LayerSpec list.
#ifndef STAGEWRIGHT_FRONTENDS_IMPORT_IMPORTLAYERSPEC_H
#define STAGEWRIGHT_FRONTENDS_IMPORT_IMPORTLAYERSPEC_H

#include "frontends/config/Config.h"
#include "frontends/layerspec/ModelSpec.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace stagewright {

/// A module with the declarations, the settings and one layer.model on a micro-batch of config.microBatchSize
/// samples. Shapes are inferred on the way. Errors (ErrorKind::User, at the layer's place in the file): those
/// of check(model), shapes that do not match, sizes beyond the catalogue's limits, a model without
/// parameters.
Result<mlir::OwningOpRef<mlir::ModuleOp>> importLayerSpec(mlir::MLIRContext &context, const ModelSpec &model,
                                                          const Config &config);

} // namespace stagewright

#endif
