#include "runtime/exec/CudaOffload.h"

#include <algorithm>
#include <functional>
#include <map>

namespace stagewright::runtime {

using executable::ExchangeKind;

CudaOffload::CudaOffload(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
                         OrderedStream &computing)
    : file(executable), environment(environment),
      plan(executable.rank(environment.mesh.pipelineRank(environment.communicator.rank()))), api(api),
      computing(computing), up(api), down(api), isMoved(plan.exchanges() ? plan.exchanges()->size() : 0) {
  for (const executable::Program *program : *plan.programs()) {
    findMoved(*program);
    for (const executable::Command *command : *program->commands()) {
      if (!updates && runsOnHost(executable, *command, plan)) {
        updates.emplace(executable, environment, api, computing, down, up);
      }
    }
  }
}

/// Of the rank's replica: loads of windows that a command of the device uses, and the stores behind it.
void CudaOffload::findMoved(const executable::Program &program) {
  std::map<std::uint64_t, unsigned> loads; // by window, the last one
  unsigned next = 0;
  const unsigned points = program.points() ? program.points()->size() : 0;
  const auto pass = [&](const executable::ExchangePoint &point) {
    const executable::Exchange &exchange = *plan.exchanges()->Get(point.exchange());
    for (const executable::ExchangePiece *piece : *exchange.pieces()) {
      if (!point.begins() || piece->replica() != environment.mesh.replica(rank())) {
        continue;
      }
      if (exchange.kind() == ExchangeKind::Load) {
        loads[piece->offset()] = point.exchange();
      } else if (const auto load = loads.find(piece->offset());
                 exchange.kind() == ExchangeKind::Store && load != loads.end()) {
        isMoved[point.exchange()] = isMoved[load->second];
      }
    }
  };
  for (unsigned i = 0; i < program.commands()->size(); ++i) {
    for (; next < points && program.points()->Get(next)->command() <= i; ++next) {
      pass(*program.points()->Get(next));
    }
    const executable::Command &command = *program.commands()->Get(i);
    const bool isOthers = command.replica() >= 0 && command.replica() != environment.mesh.updater(rank());
    for (const executable::Operand *operand : *command.operands()) {
      if (!isOthers && !runsOnHost(file, command, plan) &&
          plan.arenas()->Get(operand->arena())->arena_class() == executable::ArenaClass::Windows &&
          loads.contains(operand->offset())) {
        isMoved[loads[operand->offset()]] = true;
      }
    }
  }
  for (; next < points; ++next) {
    pass(*program.points()->Get(next));
  }
}

CudaOffload::~CudaOffload() {
  for (const Exchange &exchange : exchanges) {
    for (const OrderedEvent *event : {&exchange.made, &exchange.done}) {
      if (event->handle.handle) {
        api.destroy(event->handle);
      }
    }
  }
}

Result<void> CudaOffload::open(const ArenaBases &arenas, const ArenaBases &copies, std::size_t number,
                               std::size_t streams) {
  if (!updates && std::ranges::none_of(isMoved, std::identity())) {
    return {};
  }
  auto ok = up.open(number, streams);
  ok = ok ? down.open(number + 1, streams) : std::move(ok);
  ok = ok && updates ? updates->open(arenas, copies, number + 2, streams) : std::move(ok);
  return ok ? openExchanges(arenas) : std::move(ok);
}

Result<void> CudaOffload::openExchanges(const ArenaBases &arenas) {
  for (unsigned i = 0; i < isMoved.size(); ++i) {
    const executable::Exchange &planned = *plan.exchanges()->Get(i);
    Exchange &exchange = exchanges.emplace_back();
    exchange.loads = planned.kind() == ExchangeKind::Load;
    if (!isMoved[i]) {
      continue;
    }
    for (const executable::ExchangePiece *piece : *planned.pieces()) {
      if (piece->replica() == environment.mesh.replica(rank())) {
        exchange.pieces.push_back(
            {arenas[piece->arena()] + piece->offset(),
             arenas[static_cast<unsigned>(piece->shard_arena())] + piece->shard_offset(), piece->bytes()});
      }
    }
    for (OrderedEvent *event : {&exchange.made, &exchange.done}) {
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
  if (exchange.loads) {
    return computing.wait(exchange.done);
  }
  endedStore = &exchange.done; // stores are in the order of their stream
  return {};
}

Result<void> CudaOffload::finish() {
  const OrderedEvent *const last = std::exchange(lastStore, nullptr);
  auto ok = last ? computing.wait(*last) : Result<void>();
  return ok && updates ? updates->finish() : std::move(ok);
}

void CudaOffload::follow(const OrderedStream &other) {
  if (up.handle().handle) {
    up.follow(other);
    down.follow(other);
  }
  if (updates) {
    updates->follow(other);
  }
}

} // namespace stagewright::runtime
