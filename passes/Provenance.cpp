#include "passes/Provenance.h"

#include "mlir/IR/BuiltinAttributes.h"

using namespace mlir;

namespace stagewright {

Location madeBy(StringRef pass, Location from) {
  MLIRContext *context = from.getContext();
  return FusedLoc::get(context, {from}, StringAttr::get(context, pass));
}

StringRef blockName(Location location) {
  if (auto name = dyn_cast<NameLoc>(location)) {
    return name.getName();
  }
  if (auto fused = dyn_cast<FusedLoc>(location)) {
    return fused.getLocations().empty() ? StringRef() : blockName(fused.getLocations().front());
  }
  return {};
}

} // namespace stagewright
