#include "runtime/exec/CudaOffload.h"

#include <algorithm>

namespace stagewright::runtime {

using executable::ExchangeKind;

CudaOffload::CudaOffload(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
                         OrderedStream &computing)
    : environment(environment),
      plan(executable.rank(environment.mesh.pipelineRank(environment.communicator.rank()))), api(api),
      computing(computing), up(api), down(api) {}

CudaOffload::~CudaOffload() {
  for (const Exchange &exchange : exchanges) {
    for (const OrderedEvent *event : {&exchange.made, &exchange.done}) {
      if (event->handle.handle) {
        api.destroy(event->handle);
      }
    }
  }
}

Result<void> CudaOffload::open(const ArenaBases &arenas, std::size_t number, std::size_t streams) {
  for (unsigned i = 0; plan.exchanges() && i < plan.exchanges()->size(); ++i) {
    const executable::Exchange &planned = *plan.exchanges()->Get(i);
    exchanges.push_back({.loads = planned.kind() == ExchangeKind::Load});
    for (const executable::ExchangePiece *piece : *planned.pieces()) {
      if (movesOffloaded(planned.kind()) && piece->replica() == environment.mesh.replica(rank())) {
        exchanges.back().pieces.push_back(
            {arenas[piece->arena()] + piece->offset(),
             arenas[static_cast<unsigned>(piece->shard_arena())] + piece->shard_offset(), piece->bytes()});
      }
    }
  }
  if (std::ranges::all_of(exchanges, [](const Exchange &exchange) { return exchange.pieces.empty(); })) {
    return {};
  }
  auto ok = up.open(number, streams);
  if (ok = ok ? down.open(number + 1, streams) : std::move(ok); !ok) {
    return ok;
  }
  for (Exchange &exchange : exchanges) {
    for (OrderedEvent *event : {&exchange.made, &exchange.done}) {
      if (exchange.pieces.empty()) {
        continue;
      }
      auto made = computing.makeEvent();
      if (!made) {
        return made.takeError();
      }
      *event = std::move(*made);
    }
  }
  return {};
}

Result<void> CudaOffload::copy(const Exchange &exchange, const OrderedStream &stream) {
  Result<void> ok;
  for (const Piece &piece : exchange.pieces) {
    std::byte *to = exchange.loads ? piece.window : piece.home;
    ok = ok ? api.copy(to, exchange.loads ? piece.home : piece.window, piece.bytes, stream.handle())
            : std::move(ok);
  }
  return ok;
}

/// A window is free when it has been stored, and only stores write homes: a load waits for nothing else.
Result<void> CudaOffload::begin(unsigned number) {
  Exchange &exchange = exchanges[number];
  if (exchange.pieces.empty()) {
    return {};
  }
  if (exchange.loads) {
    const OrderedEvent *const stored = std::exchange(endedStore, nullptr);
    auto ok = stored ? up.wait(*stored) : Result<void>();
    ok = ok ? copy(exchange, up) : std::move(ok);
    return ok ? up.record(exchange.done) : std::move(ok);
  }
  lastStore = &exchange.done;
  auto ok = computing.record(exchange.made);
  ok = ok ? down.wait(exchange.made) : std::move(ok);
  ok = ok ? copy(exchange, down) : std::move(ok);
  return ok ? down.record(exchange.done) : std::move(ok);
}

Result<void> CudaOffload::end(unsigned number) {
  const Exchange &exchange = exchanges[number];
  if (exchange.pieces.empty()) {
    return {};
  }
  if (exchange.loads) {
    return computing.wait(exchange.done);
  }
  endedStore = &exchange.done; // stores are in the order of their stream
  return {};
}

Result<void> CudaOffload::finish() {
  const OrderedEvent *const last = std::exchange(lastStore, nullptr);
  return last ? computing.wait(*last) : Result<void>();
}

void CudaOffload::follow(const OrderedStream &other) {
  if (up.handle().handle) {
    up.follow(other);
    down.follow(other);
  }
}

} // namespace stagewright::runtime
