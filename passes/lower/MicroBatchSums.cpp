#include "passes/lower/MicroBatchSums.h"

#include "passes/Provenance.h"
#include "passes/lower/ExchangeParts.h"
#include "schema/stage_generated.h"

using namespace mlir;

namespace stagewright {

MicroBatchSums::MicroBatchSums(ModuleOp module, command::RankOp rank, plan::FunctionOp function,
                               const RankSlices &slices, const FunctionBuffers &buffers,
                               plan::LocalsOp locals, OpBuilder &program)
    : module(module), rank(rank), stage(function->getParentOfType<plan::StageOp>().getIndex()),
      slices(slices), buffers(buffers), locals(locals), program(program) {}

void MicroBatchSums::point(int64_t exchange, bool begins) {
  command::ExchangePointOp::create(program, madeBy("lower-to-commands", rank.getLoc()), exchange, begins);
}

//   reduce   begins parts 0 and 1          await   ends 0, begins 2, ends 1, begins 3, ...
void MicroBatchSums::lower(Operation &op) {
  if (isa<plan::AwaitOp>(op)) {
    for (; first < end; ++first) {
      point(first, false);
      if (first + kExchangesUnderWay < end) {
        point(first + kExchangesUnderWay, true);
      }
    }
    return;
  }
  auto reduce = dyn_cast<plan::ReduceOp>(op);
  if (!reduce) {
    return;
  }
  Ranges chunk;
  plan::LocalsOp local = locals;
  int64_t sums = 0;
  for (auto [name, value] : llvm::zip(reduce.getNames().getAsRange<plan::ValueAttr>(), reduce.getValues())) {
    auto type = cast<RankedTensorType>(value.getType());
    int64_t window = local.getOffsets()[buffers.local(value)];
    for (const schedule::ShardPiece &piece : slices.pieces(stage, name)) {
      command::SliceAttr sum = slices.sliceOfPiece(stage, name, type, piece);
      sums = sum.getArena();
      int64_t begin = window + 4 * piece.first;
      chunk.push_back({begin, begin + 4 * piece.elements, piece.replica, sum.getOffset()});
    }
  }
  plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
  int64_t scratch = exchangeScratch(module, rank.getIndex()).bytes;
  OpBuilder atEnd = OpBuilder::atBlockEnd(&rank.getBody().front());
  first = end = llvm::range_size(rank.getBody().getOps<command::ExchangeOp>());
  for (const Ranges &part : exchangeParts(chunk, settings.getDataParallel())) {
    SmallVector<int64_t> pieces;
    for (const Exchanged &range : part) {
      pieces.append(
          {range.replica, local.getArena(), range.begin, range.end - range.begin, sums, range.shard});
    }
    command::ExchangeOp::create(atEnd, madeBy("lower-to-commands", reduce.getLoc()),
                                static_cast<int64_t>(executable::ExchangeKind::Accumulate), stage,
                                scratch * ((end - first) % kExchangesUnderWay), pieces);
    if (end - first < kExchangesUnderWay) {
      point(end, true);
    }
    ++end;
  }
}

} // namespace stagewright
