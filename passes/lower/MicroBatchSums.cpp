#include "passes/lower/MicroBatchSums.h"

#include "passes/lower/ExchangeParts.h"

using namespace mlir;

namespace stagewright {

MicroBatchSums::MicroBatchSums(plan::FunctionOp function, int64_t scratch, const RankSlices &slices,
                               const FunctionBuffers &buffers, plan::LocalsOp locals, ExchangeWriter &writer)
    : stage(function->getParentOfType<plan::StageOp>().getIndex()), scratch(scratch), slices(slices),
      buffers(buffers), locals(locals), writer(writer) {}

//   reduce   begins parts 0 and 1          await   ends 0, begins 2, ends 1, begins 3, ...
void MicroBatchSums::lower(Operation &op) {
  if (isa<plan::AwaitOp>(op)) {
    for (; first < end; ++first) {
      writer.end(first);
      if (first + kExchangesUnderWay < end) {
        writer.begin(first + kExchangesUnderWay);
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
  first = end = writer.next();
  for (const Ranges &part : exchangeParts(chunk, slices.replicas(), slices.gradientWire())) {
    SmallVector<int64_t> pieces;
    for (const Exchanged &range : part) {
      pieces.append(
          {range.replica, local.getArena(), range.begin, range.end - range.begin, sums, range.shard});
    }
    writer.add(executable::ExchangeKind::Accumulate, scratch * ((end - first) % kExchangesUnderWay), pieces);
    if (end - first < kExchangesUnderWay) {
      writer.begin(end);
    }
    ++end;
  }
}

} // namespace stagewright
