#include "passes/Passes.h"
#include "passes/Provenance.h"
#include "passes/parallel/Shards.h"
#include "passes/parallel/TiedParameters.h"

#include "catalogue/Catalogue.h"
#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

#include <map>

using namespace mlir;

namespace stagewright {

#define GEN_PASS_DEF_SHARDPARAMETERS
#include "generated-passes/Passes.h.inc"

namespace {

struct ShardParametersPass : impl::ShardParametersBase<ShardParametersPass> {
  void runOnOperation() override {
    plan::SettingsOp settings = *getOperation().getOps<plan::SettingsOp>().begin();
    if (settings.getDataParallel() == 1) {
      return;
    }
    sums = gradientSums(getOperation());
    for (plan::StageOp stage : getOperation().getOps<plan::StageOp>()) {
      shard(stage, settings);
    }
    if (settings.shardsWeights()) {
      OpBuilder builder(&getContext());
      builder.setInsertionPoint(*getOperation().getOps<plan::StageOp>().begin());
      shardCopies(builder);
    }
  }

  /// The parameters that the stage updates.
  void shard(plan::StageOp stage, plan::SettingsOp settings) {
    std::vector<schedule::Divided> divided;
    SmallVector<layer::ParameterOp> parameters;
    llvm::StringMap<int> chunks; // of blocks
    for (layer::ParameterOp parameter : getOperation().getOps<layer::ParameterOp>()) {
      auto found = sums.find(parameter.getSymName());
      if (found == sums.end() || found->second.front().stage != stage) {
        continue;
      }
      int64_t elements = cast<RankedTensorType>(parameter.getType()).getNumElements();
      int chunk = chunks.try_emplace(parameter.getBlock(), static_cast<int>(chunks.size())).first->second;
      divided.push_back(
          {elements, settings.shards() && settings.getOptimizer() == "lamb" ? elements : catalogue::kGranule,
           chunk});
      parameters.push_back(parameter);
    }
    OpBuilder builder(&getContext());
    builder.setInsertionPoint(*getOperation().getOps<plan::StageOp>().begin());
    std::vector<SmallVector<int64_t>> pieces(parameters.size());
    for (const schedule::ShardPiece &piece :
         schedule::cutShards(divided, static_cast<int>(settings.getDataParallel()))) {
      pieces[piece.parameter].append({piece.first, piece.elements, piece.replica, piece.offset});
    }
    for (auto [parameter, list] : llvm::zip(parameters, pieces)) {
      plan::ShardOp::create(builder, madeBy("shard-parameters", parameter.getLoc()), parameter.getSymName(),
                            stage.getIndex(), list);
    }
  }

  /// Stages that hold a parameter of another one have pieces cut alike, in the order of parameters.
  void shardCopies(OpBuilder &builder) {
    std::map<std::pair<int64_t, int64_t>, int64_t> ends; // by stage and replica
    auto owned = llvm::to_vector(getOperation().getOps<plan::ShardOp>());
    for (plan::ShardOp shard : owned) { // copies lie behind what a stage updates
      ArrayRef<int64_t> pieces = shard.getPieces();
      for (size_t i = 0; i < pieces.size(); i += 4) {
        int64_t &end = ends[{shard.getStage(), pieces[i + 2]}];
        end = std::max<int64_t>(end, llvm::alignTo(pieces[i + 3] + pieces[i + 1], catalogue::kAlignment / 4));
      }
    }
    for (const TiedParameter &tied : tiedParameters(getOperation())) {
      plan::ShardOp shard =
          *llvm::find_if(owned, [&](plan::ShardOp op) { return op.getParameter() == tied.name; });
      for (int64_t holder : tied.holders()) {
        SmallVector<int64_t> pieces(shard.getPieces());
        for (size_t i = 0; i < pieces.size(); i += 4) {
          int64_t &end = ends[{holder, pieces[i + 2]}];
          pieces[i + 3] = end;
          end += llvm::alignTo(pieces[i + 1], catalogue::kAlignment / 4);
        }
        plan::ShardOp::create(builder, shard.getLoc(), tied.name, holder, pieces);
      }
    }
  }

  llvm::MapVector<StringRef, std::vector<GradientSum>> sums;
};

} // namespace
} // namespace stagewright
