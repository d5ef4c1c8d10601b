#include "passes/lower/WeightGathers.h"

#include "passes/Provenance.h"
#include "schema/stage_generated.h"

using namespace mlir;

namespace stagewright {

using plan::Role;

WeightGathers::WeightGathers(command::RankOp rank, plan::FunctionOp function, const RankSlices &slices,
                             const FunctionBuffers &buffers, plan::LocalsOp locals, OpBuilder &program)
    : rank(rank), stage(function->getParentOfType<plan::StageOp>().getIndex()), slices(slices),
      buffers(buffers), locals(locals), program(program) {}

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
    command::ExchangeOp exchange =
        *std::next(rank.getBody().getOps<command::ExchangeOp>().begin(), neighbour->second);
    SmallVector<int64_t> pieces(exchange.getPieces());
    appendPieces(gather, pieces);
    exchange.setPieces(pieces);
    underWay[gather.getValue()] = neighbour->second;
    return;
  }
  int64_t number = llvm::range_size(rank.getBody().getOps<command::ExchangeOp>());
  Location location = madeBy("lower-to-commands", gather.getLoc());
  SmallVector<int64_t> pieces;
  appendPieces(gather, pieces);
  OpBuilder atEnd = OpBuilder::atBlockEnd(&rank.getBody().front());
  command::ExchangeOp::create(atEnd, location, static_cast<int64_t>(executable::ExchangeKind::Gather), stage,
                              0, pieces);
  command::ExchangePointOp::create(program, location, number, true);
  underWay[gather.getValue()] = number;
}

void WeightGathers::end(int64_t exchange) {
  command::ExchangePointOp::create(program, madeBy("lower-to-commands", rank.getLoc()), exchange, false);
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

void WeightGathers::appendPieces(plan::GatherOp gather, SmallVectorImpl<int64_t> &pieces) const {
  auto name = plan::ValueAttr::get(gather.getContext(), Role::Parameter, gather.getParameter());
  command::SliceAttr whole = window(gather);
  for (const schedule::ShardPiece &piece : slices.pieces(stage, name)) {
    command::SliceAttr shard =
        slices.sliceOfPiece(stage, name, cast<RankedTensorType>(gather.getType()), piece);
    pieces.append({piece.replica, whole.getArena(), whole.getOffset() + 4 * piece.first, 4 * piece.elements,
                   shard.getArena(), shard.getOffset()});
  }
}

} // namespace stagewright
