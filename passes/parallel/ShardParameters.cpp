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
    if (settings.getDataParallel() == 1 && !settings.offloads()) {
      return;
    }
    sums = gradientSums(getOperation());
    for (plan::StageOp stage : getOperation().getOps<plan::StageOp>()) {
      shard(stage, settings);
    }
    if (settings.shardsWeights() || settings.shardsGradients()) {
      OpBuilder builder(&getContext());
      builder.setInsertionPoint(*getOperation().getOps<plan::StageOp>().begin());
      if (failed(checkFiles(settings))) {
        return signalPassFailure();
      }
      shardCopies(builder, settings);
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
          {elements, settings.shards() && settings.updatesWholeParameters() ? elements : catalogue::kGranule,
           chunk});
      parameters.push_back(parameter);
    }
    OpBuilder builder(&getContext());
    builder.setInsertionPoint(*getOperation().getOps<plan::StageOp>().begin());
    std::vector<schedule::ShardPiece> shard =
        schedule::cutShards(divided, static_cast<int>(settings.updaters()));
    IntegerAttr statesFrom = offloadedFrom(shard, settings.getStatesOffloadAttr()),
                weightsFrom = offloadedFrom(shard, settings.getWeightsOffloadAttr());
    std::vector<SmallVector<int64_t>> pieces(parameters.size());
    for (const schedule::ShardPiece &piece : shard) {
      append(pieces[piece.parameter], piece, divided[piece.parameter].granule, {statesFrom, weightsFrom});
    }
    for (auto [parameter, list] : llvm::zip(parameters, pieces)) {
      plan::ShardOp::create(builder, madeBy("shard-parameters", parameter.getLoc()), parameter.getSymName(),
                            stage.getIndex(), list, statesFrom, weightsFrom);
    }
  }

  /// The element of every replica's shard from which on it leaves the device's memory.
  IntegerAttr offloadedFrom(ArrayRef<schedule::ShardPiece> shard, plan::OffloadAttr offload) {
    if (!offload) {
      return {};
    }
    double stays = 1 - offload.getRatio().getValueAsDouble();
    auto from = static_cast<int64_t>(
        static_cast<double>(schedule::shardElements({shard.begin(), shard.end()})) * stays);
    return Builder(&getContext())
        .getI64IntegerAttr(static_cast<int64_t>(llvm::alignTo(from, catalogue::kAlignment / 4)));
  }

  //   shard   [ piece 0 | piece 1 . | . ]     what begins behind `from` is offloaded: piece 1 is cut at its
  //   next
  //                         from^   ^cut      granule
  void append(SmallVector<int64_t> &list, schedule::ShardPiece piece, int64_t granule,
              ArrayRef<IntegerAttr> cuts) {
    SmallVector<int64_t> lengths;
    for (IntegerAttr from : cuts) {
      int64_t stays = from ? from.getInt() - piece.offset : 0;
      if (stays > 0 && static_cast<int64_t>(llvm::alignTo(stays, granule)) < piece.elements) {
        lengths.push_back(static_cast<int64_t>(llvm::alignTo(stays, granule)));
      }
    }
    llvm::sort(lengths);
    lengths.erase(llvm::unique(lengths), lengths.end());
    lengths.push_back(piece.elements);
    int64_t begin = 0;
    for (int64_t end : lengths) {
      list.append({piece.first + begin, end - begin, piece.replica, piece.offset + begin});
      begin = end;
    }
  }

  /// What stages send each other is sent out of memory.
  LogicalResult checkFiles(plan::SettingsOp settings) {
    plan::OffloadAttr offload = settings.getWeightsOffloadAttr();
    auto ties = tiedParameters(getOperation());
    if (!offload || offload.getTier() != "file" || ties.empty()) {
      return success();
    }
    return emitError(settings.getLoc(),
                     "/zero_optimization/offload_param keeps weights in files, but parameter \"" +
                         ties.front().name +
                         "\" is used by several stages, which send it to "
                         "each other")
               .attachNote()
           << "use the device \"cpu\", fewer stages, or untie it";
  }

  /// Stages that hold a parameter of another one have pieces cut alike, in the order of parameters.
  void shardCopies(OpBuilder &builder, plan::SettingsOp settings) {
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
        plan::ShardOp *own = llvm::find_if(owned, [&](plan::ShardOp op) { return op.getStage() == holder; });
        IntegerAttr zero = settings.getWeightsOffload() ? builder.getI64IntegerAttr(0) : IntegerAttr();
        plan::ShardOp::create(builder, shard.getLoc(), tied.name, holder, pieces, IntegerAttr(),
                              own == owned.end() ? zero : own->getWeightsFromAttr());
      }
    }
  }

  llvm::MapVector<StringRef, std::vector<GradientSum>> sums;
};

} // namespace
} // namespace stagewright
