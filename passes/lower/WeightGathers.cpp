#include "passes/lower/WeightGathers.h"

using namespace mlir;

namespace stagewright {

using plan::Role;

WeightGathers::WeightGathers(plan::FunctionOp function, const RankSlices &slices,
                             const FunctionBuffers &buffers, plan::LocalsOp locals, ExchangeWriter &writer)
    : stage(function->getParentOfType<plan::StageOp>().getIndex()), slices(slices), buffers(buffers),
      locals(locals), writer(writer) {}

void WeightGathers::lower(Operation &op) {
  if (auto gather = dyn_cast<plan::GatherOp>(op)) {
    begin(gather);
    return;
  }
  if (!isa<layer::Kernel>(op)) {
    return; // a view reads nothing
  }
  for (Value operand : op.getOperands()) {
    if (auto found = underWay.find(layer::memoryRoot(operand)); found != underWay.end()) {
      end(found->second);
    }
  }
}

void WeightGathers::finish() {
  while (!underWay.empty()) {
    end(underWay.begin()->second);
  }
}

void WeightGathers::begin(plan::GatherOp gather) {
  auto before = dyn_cast_or_null<plan::GatherOp>(gather->getPrevNode());
  auto neighbour = before ? underWay.find(before.getValue()) : underWay.end();
  if (neighbour != underWay.end() && before.getLoc() == gather.getLoc()) { // of the same run of ops
    writer.append(neighbour->second, piecesOf(gather));
    underWay[gather.getValue()] = neighbour->second;
    return;
  }
  int64_t exchange = writer.add(executable::ExchangeKind::Gather, 0, piecesOf(gather));
  writer.begin(exchange);
  underWay[gather.getValue()] = exchange;
}

void WeightGathers::end(int64_t exchange) {
  writer.end(exchange);
  underWay.remove_if([&](auto &entry) { return entry.second == exchange; });
}

/// Where the whole parameter arrives.
command::SliceAttr WeightGathers::window(plan::GatherOp gather) const {
  auto type = cast<RankedTensorType>(gather.getType());
  if (plan::ValueAttr name = buffers.named(gather.getValue())) {
    return slices.slice(stage, name, type);
  }
  plan::LocalsOp local = locals;
  return command::SliceAttr::get(type.getContext(), local.getArena(), -1,
                                 local.getOffsets()[buffers.local(gather.getValue())], type);
}

SmallVector<int64_t> WeightGathers::piecesOf(plan::GatherOp gather) const {
  auto name = plan::ValueAttr::get(gather.getContext(), Role::Parameter, gather.getParameter());
  command::SliceAttr whole = window(gather);
  SmallVector<int64_t> pieces;
  for (const schedule::ShardPiece &piece : slices.pieces(stage, name)) {
    command::SliceAttr shard =
        slices.sliceOfPiece(stage, name, cast<RankedTensorType>(gather.getType()), piece);
    pieces.append({piece.replica, whole.getArena(), whole.getOffset() + 4 * piece.first, 4 * piece.elements,
                   shard.getArena(), shard.getOffset()});
  }
  return pieces;
}

} // namespace stagewright
