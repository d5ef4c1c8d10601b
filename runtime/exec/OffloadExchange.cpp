#include "runtime/exec/OffloadExchange.h"

#include <cstring>

namespace stagewright::runtime {

using executable::ExchangeKind;

OffloadExchange::OffloadExchange(const executable::Exchange &exchange, const RankMemory &memory, int replica)
    : ProgramExchange(exchange.kind()) {
  for (const executable::ExchangePiece *piece : *exchange.pieces()) {
    if (piece->replica() == replica) {
      pieces.push_back({memory.at(piece->arena(), piece->offset()).memory,
                        memory.at(static_cast<unsigned>(piece->shard_arena()), piece->shard_offset()),
                        piece->bytes()});
      total += piece->bytes();
    }
  }
}

Result<void> OffloadExchange::start() {
  const bool loads = what() == ExchangeKind::Load;
  for (Piece &piece : pieces) {
    if (piece.home.memory) {
      loads ? std::memcpy(piece.window, piece.home.memory, piece.bytes)
            : std::memcpy(piece.home.memory, piece.window, piece.bytes);
      continue;
    }
    auto operation = loads ? piece.home.file->beginRead(piece.home.offset, piece.bytes, piece.window)
                           : piece.home.file->beginWrite(piece.home.offset, piece.bytes, piece.window);
    if (!operation) {
      return operation.takeError();
    }
    piece.operation = *operation;
  }
  return {};
}

Result<void> OffloadExchange::complete() {
  for (const Piece &piece : pieces) {
    if (auto ok = piece.home.file ? piece.home.file->end(piece.operation) : Result<void>(); !ok) {
      return ok;
    }
  }
  return {};
}

} // namespace stagewright::runtime
