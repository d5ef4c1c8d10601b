#include "passes/lower/ExchangeWriter.h"

#include "passes/Provenance.h"

using namespace mlir;

namespace stagewright {

ExchangeWriter::ExchangeWriter(command::RankOp rank, int64_t stage, Location location, OpBuilder &program)
    : rank(rank), stage(stage), location(madeBy("lower-to-commands", location)), program(program),
      count(llvm::range_size(rank.getBody().getOps<command::ExchangeOp>())) {}

int64_t ExchangeWriter::add(executable::ExchangeKind kind, int64_t scratch, ArrayRef<int64_t> pieces) {
  OpBuilder atEnd = OpBuilder::atBlockEnd(&rank.getBody().front());
  command::ExchangeOp::create(atEnd, location, static_cast<int64_t>(kind), stage, scratch, pieces);
  return count++;
}

void ExchangeWriter::append(int64_t exchange, ArrayRef<int64_t> pieces) {
  command::ExchangeOp op = *std::next(rank.getBody().getOps<command::ExchangeOp>().begin(), exchange);
  SmallVector<int64_t> all(op.getPieces());
  llvm::append_range(all, pieces);
  op.setPieces(all);
}

void ExchangeWriter::point(int64_t exchange, bool begins) {
  command::ExchangePointOp::create(program, location, exchange, begins);
}

} // namespace stagewright
