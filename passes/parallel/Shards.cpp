#include "passes/parallel/Shards.h"

#include "passes/parallel/TiedParameters.h"

using namespace mlir;

namespace stagewright {

llvm::StringMap<std::vector<schedule::ShardPiece>> shardsOf(ModuleOp module) {
  llvm::StringMap<std::vector<schedule::ShardPiece>> shards;
  for (plan::ShardOp op : module.getOps<plan::ShardOp>()) {
    ArrayRef<int64_t> pieces = op.getPieces();
    for (size_t i = 0; i < pieces.size(); i += 4) {
      shards[op.getParameter()].push_back(
          {0, pieces[i], pieces[i + 1], static_cast<int>(pieces[i + 2]), pieces[i + 3]});
    }
  }
  return shards;
}

schedule::StepExchanges exchangesOf(ModuleOp module) {
  plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
  return {tiesOf(module), settings.getDataParallel() > 1, settings.shards()};
}

} // namespace stagewright
