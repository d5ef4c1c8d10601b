#include "runtime/exec/CudaReplicas.h"

#include "kernels/cuda/OrderedSum.h"
#include "runtime/exec/MeshGroups.h"

#include <algorithm>
#include <tuple>

namespace stagewright::runtime {

using executable::ExchangeKind;
using schedule::TaskKind;

namespace {

constexpr std::uint64_t kMostAtOnce = std::uint64_t{1} << 20; // of a sum without an exchange

} // namespace

CudaReplicas::CudaReplicas(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
                           cuda::KernelCache &kernels, OrderedStream &computing)
    : file(executable), environment(environment),
      plan(executable.rank(environment.mesh.pipelineRank(environment.communicator.rank()))), api(api),
      kernels(kernels), computing(computing),
      messages(makeDeviceMessages(api, environment.communicator, environment.usesNccl, 0,
                                  environment.interrupt)) {}

CudaReplicas::~CudaReplicas() {
  const auto destroy = [&](const Transfers &transfers) {
    for (const OrderedEvent *event : {&transfers.made, &transfers.done}) {
      if (event->handle.handle) {
        api.destroy(event->handle);
      }
    }
  };
  std::ranges::for_each(exchanges, destroy);
  std::ranges::for_each(gathers, destroy);
  destroy(ofSums);
  api.release(scratch);
}

Result<void> CudaReplicas::open(const ArenaBases &arenas, std::size_t number, std::size_t streams) {
  for (unsigned i = 0; plan.exchanges() && i < plan.exchanges()->size(); ++i) {
    planExchange(*plan.exchanges()->Get(i), arenas);
  }
  if (environment.mesh.replicas > 1) {
    planGathers(arenas);
    planSums(arenas);
  }
  untilNorm.resize(count);
  untilUpdate.resize(count);
  awaited.reserve(count + exchanges.size() + 2);
  if (auto ok = messages->open(count, number, streams); !ok) {
    return ok;
  }
  for (Exchange &exchange : exchanges) {
    if (auto ok = movesOffloaded(exchange.kind) ? Result<void>() : openTransfers(exchange); !ok) {
      return ok;
    }
  }
  for (Gather &gather : gathers) {
    if (auto ok = openTransfers(gather); !ok) {
      return ok;
    }
  }
  Result<void> loaded;
  for (const catalogue::DType dtype : {catalogue::DType::F32, catalogue::DType::F64}) {
    loaded = loaded && environment.mesh.replicas > 1
                 ? cuda::loadOrderedSum(api, kernels, computing.handle(), dtype)
                 : std::move(loaded);
  }
  if (!loaded || sums.empty()) {
    return loaded;
  }
  scratchBytes = wholePages(static_cast<unsigned>(ofSums.replicas.size - 1) * chunkBytes);
  auto made = api.allocate(scratchBytes);
  if (!made) {
    return made.takeError();
  }
  scratch = static_cast<std::byte *>(*made);
  return openTransfers(ofSums);
}

/// Larger groups first: that is one order for the ranks of all of them.
Result<void> CudaReplicas::connect() {
  std::vector<RankGroup> groups;
  const auto add = [&](const Transfers &transfers) {
    if (transfers.replicas.size > 1) { // of what CudaOffload moves there are none
      groups.push_back(transfers.replicas);
    }
  };
  std::ranges::for_each(exchanges, add);
  std::ranges::for_each(gathers, add);
  if (!sums.empty()) {
    add(ofSums);
  }
  const auto keyOf = [](const RankGroup &group) { return std::tuple(-group.size, group.step, group.first); };
  std::ranges::sort(groups, {}, keyOf);
  groups.erase(std::ranges::unique(groups, {}, keyOf).begin(), groups.end());
  return messages->connect({}, groups);
}

Result<void> CudaReplicas::openTransfers(Transfers &transfers) {
  for (OrderedEvent *event : {&transfers.made, &transfers.done}) {
    auto made = computing.makeEvent();
    if (!made) {
      return made.takeError();
    }
    *event = std::move(*made);
  }
  return {};
}

std::size_t CudaReplicas::messagesOf(const std::vector<Piece> &pieces, const Transfers &transfers) const {
  std::size_t expected = 0;
  for (const Piece &piece : pieces) {
    const bool isOwn = piece.position == transfers.own;
    expected += isOwn ? static_cast<std::size_t>(transfers.replicas.size - 1) : 1;
  }
  return isAlone(transfers) ? 0 : expected;
}

/// Places as in ReplicaExchange.
void CudaReplicas::planExchange(const executable::Exchange &planned, const ArenaBases &arenas) {
  const Mesh &mesh = environment.mesh;
  const bool weights = planned.kind() == ExchangeKind::Gather;
  const int group = file.shardGroup(), communication = communicationArena(plan);
  Exchange exchange;
  exchange.tag = tags::kReplicas;
  exchange.kind = planned.kind();
  if (movesOffloaded(exchange.kind)) { // CudaOffload's
    exchanges.push_back(std::move(exchange));
    return;
  }
  exchange.stage = planned.stage();
  exchange.replicas = weights ? shardGroupOf(mesh, rank(), group) : replicasOf(mesh, rank());
  exchange.own = exchange.replicas.position(rank());
  std::byte *contributed =
      communication < 0 ? nullptr : arenas[static_cast<unsigned>(communication)] + planned.scratch();
  for (const executable::ExchangePiece *entry : *planned.pieces()) {
    Piece piece{.position = weights ? entry->replica() % group : entry->replica(),
                .whole = arenas[entry->arena()] + entry->offset(),
                .bytes = entry->bytes()};
    const bool isOwn = piece.position == exchange.own;
    if (weights && (isOwn || isAlone(exchange))) {
      const auto arena = static_cast<unsigned>(entry->shard_arena());
      const std::uint64_t stride = RankMemory::strideOf(*plan.arenas()->Get(arena), file, mesh);
      piece.own = arenas[arena] + entry->shard_offset() + stride * static_cast<unsigned>(piece.position);
    } else if (!weights && isOwn) {
      piece.own = contributed;
      contributed += static_cast<unsigned>(exchange.replicas.size - 1) * catalogue::aligned(piece.bytes);
      piece.sum = planned.kind() == ExchangeKind::Accumulate
                      ? arenas[static_cast<unsigned>(entry->shard_arena())] + entry->shard_offset()
                      : nullptr;
    }
    exchange.pieces.push_back(piece);
  }
  exchange.first = count;
  exchange.sends.resize(messagesOf(exchange.pieces, exchange));
  count += exchange.sends.size();
  exchanges.push_back(std::move(exchange));
}

void CudaReplicas::planGathers(const ArenaBases &arenas) {
  for (unsigned i = 0; plan.gathers() && i < plan.gathers()->size(); ++i) {
    const executable::ReplicaGather &entry = *plan.gathers()->Get(i);
    const auto task = static_cast<TaskKind>(entry.task());
    // Updated weights go to the replicas that have the same ones, all else to all of them.
    const bool ofShards = task == TaskKind::Gather && file.file().recipe()->zero() == 3;
    const RankGroup others = ofShards ? sameShardOf(environment.mesh, rank(), file.shardGroup())
                                      : replicasOf(environment.mesh, rank());
    const int owner = replicasOf(environment.mesh, rank()).at(entry.replica());
    if (!others.contains(owner) || others.size == 1) {
      continue;
    }
    auto gather = std::ranges::find_if(
        gathers, [&](const Gather &known) { return known.task == task && known.stage == entry.stage(); });
    if (gather == gathers.end()) {
      gathers.emplace_back();
      gather = gathers.end() - 1;
      gather->task = task;
      gather->stage = entry.stage();
      gather->replicas = others;
      gather->own = others.position(rank());
    }
    gather->pieces.push_back({.position = others.position(owner),
                              .whole = arenas[entry.arena()] + entry.offset(),
                              .bytes = entry.bytes()});
  }
  for (Gather &gather : gathers) {
    gather.first = count;
    gather.sends.resize(messagesOf(gather.pieces, gather));
    count += gather.sends.size();
  }
}

void CudaReplicas::planSums(const ArenaBases &arenas) {
  for (unsigned i = 0; plan.reductions() && i < plan.reductions()->size(); ++i) {
    const executable::Reduction &entry = *plan.reductions()->Get(i);
    if (entry.tensor()) {
      continue;
    }
    sums.push_back({.stage = entry.stage(),
                    .position = entry.replica(),
                    .data = arenas[entry.arena()] + entry.offset(),
                    .bytes = entry.bytes(),
                    .isDouble = entry.dtype() == executable::DType::F64,
                    .isMean = entry.mean()});
    chunkBytes = std::max(chunkBytes, catalogue::aligned(std::min(kMostAtOnce, sums.back().bytes)));
  }
  ofSums.replicas = replicasOf(environment.mesh, rank());
  ofSums.own = ofSums.replicas.position(rank());
  ofSums.first = count;
  ofSums.sends.resize(2 * static_cast<std::size_t>(ofSums.replicas.size - 1));
  count += ofSums.sends.size();
}

/// What an earlier message of this number has been waited for is forgotten: this one's arrival stands behind
/// it.
Result<void> CudaReplicas::postTo(Transfers &transfers, bool send, int position, std::byte *data,
                                  std::uint64_t bytes, const OrderedEvent *ready) {
  const std::size_t number = transfers.first + posted;
  transfers.sends[posted++] = send;
  untilNorm[number] = untilUpdate[number] = nullptr;
  return messages->post(number, send, transfers.replicas.at(position), transfers.tag, data, bytes, ready);
}

Result<void> CudaReplicas::begin(unsigned number) {
  Exchange &exchange = exchanges[number];
  exchange.isUnderWay = true;
  posted = 0;
  auto ok = computing.record(exchange.made);
  ok = ok ? messages->beginGroup(exchange.replicas) : std::move(ok);
  ok = !ok                                     ? std::move(ok)
       : exchange.kind == ExchangeKind::Gather ? postWeights(exchange)
                                               : postContributions(exchange);
  ok = ok ? messages->endGroup() : std::move(ok);
  return ok && exchange.kind == ExchangeKind::Gather ? copyOwnWeights(exchange) : std::move(ok);
}

/// Contributions arrive on the stream that has read those before them: their place is free.
Result<void> CudaReplicas::postContributions(Exchange &exchange) {
  for (const Piece &piece : exchange.pieces) {
    if (piece.position != exchange.own) {
      if (auto ok = postTo(exchange, true, piece.position, piece.whole, piece.bytes, &exchange.made); !ok) {
        return ok;
      }
      continue;
    }
    std::byte *place = piece.own;
    for (int position = 0; position < exchange.replicas.size; ++position) {
      if (position == exchange.own) {
        continue;
      }
      if (auto ok = postTo(exchange, false, position, place, piece.bytes, nullptr); !ok) {
        return ok;
      }
      place += catalogue::aligned(piece.bytes);
    }
  }
  return {};
}

Result<void> CudaReplicas::postWeights(Exchange &exchange) {
  for (const Piece &piece : exchange.pieces) {
    if (!piece.own) {
      if (auto ok = postTo(exchange, false, piece.position, piece.whole, piece.bytes, &exchange.made); !ok) {
        return ok;
      }
      continue;
    }
    for (int step = 1; step < exchange.replicas.size; ++step) { // not all to the same one first
      const int position = (exchange.own + step) % exchange.replicas.size;
      if (auto ok = postTo(exchange, true, position, piece.own, piece.bytes, &exchange.made); !ok) {
        return ok;
      }
    }
  }
  return {};
}

Result<void> CudaReplicas::copyOwnWeights(Exchange &exchange) {
  if (std::ranges::none_of(exchange.pieces, [](const Piece &piece) { return piece.own; })) {
    return {};
  }
  return messages->onStream([&](OrderedStream &stream) {
    auto ok = stream.wait(exchange.made);
    for (const Piece &piece : exchange.pieces) {
      ok = ok && piece.own ? api.copy(piece.whole, piece.own, piece.bytes, stream.handle()) : std::move(ok);
    }
    return ok ? stream.record(exchange.done) : std::move(ok);
  });
}

Result<void> CudaReplicas::await(const Transfers &transfers, bool sends, bool receives) {
  for (std::size_t i = 0; i < transfers.sends.size(); ++i) {
    if (transfers.sends[i] ? !sends : !receives) {
      continue;
    }
    auto arrived = messages->arrival(transfers.first + i);
    if (!arrived) {
      return arrived.takeError();
    }
    awaited.push_back(*arrived);
  }
  environment.status.advance();
  return {};
}

/// Their arrivals are what `awaited` has.
void CudaReplicas::keepSends(const Transfers &transfers, std::vector<const OrderedEvent *> &kept) {
  auto next = awaited.begin();
  for (std::size_t i = 0; i < transfers.sends.size(); ++i) {
    if (transfers.sends[i]) {
      kept[transfers.first + i] = *next++;
    }
  }
}

Result<void> CudaReplicas::end(unsigned number) {
  Exchange &exchange = exchanges[number];
  if (!exchange.isUnderWay) {
    if (auto ok = begin(number); !ok) {
      return ok;
    }
  }
  exchange.isUnderWay = false;
  if (exchange.kind != ExchangeKind::Gather) {
    auto ok = addUp(exchange);
    return ok && exchange.kind == ExchangeKind::Accumulate ? computing.wait(exchange.done) : std::move(ok);
  }
  awaited.clear();
  auto ok = await(exchange, true, false);
  if (ok) {
    keepSends(exchange, untilUpdate);
  }
  awaited.clear();
  ok = ok ? await(exchange, false, true) : std::move(ok);
  awaited.push_back(&exchange.done);
  return ok ? computing.wait(awaited) : std::move(ok);
}

Result<void> CudaReplicas::launchSum(const OrderedStream &stream, const Transfers &group, std::byte *own,
                                     const std::byte *others, std::byte *sum, std::uint64_t bytes,
                                     bool isDouble, bool isMean) {
  const std::uint64_t width = isDouble ? sizeof(double) : sizeof(float);
  return cuda::launchOrderedSum(api, kernels, stream.handle(),
                                isDouble ? catalogue::DType::F64 : catalogue::DType::F32,
                                {.own = own,
                                 .others = others,
                                 .y = sum ? sum : own,
                                 .elements = static_cast<std::int64_t>(bytes / width),
                                 .stride = static_cast<std::int64_t>(catalogue::aligned(bytes) / width),
                                 .terms = group.replicas.size,
                                 .position = group.own,
                                 .accumulates = sum ? 1 : 0,
                                 .divisor = isMean ? group.replicas.size : 1});
}

/// Behind the rank's own part, and what the others have taken.
Result<void> CudaReplicas::addUp(Exchange &exchange) {
  awaited.clear();
  if (auto ok = await(exchange, false, true); !ok) { // on the stream, in front of the sums
    return ok;
  }
  awaited.clear();
  if (auto ok = await(exchange, true, false); !ok) {
    return ok;
  }
  awaited.push_back(&exchange.made);
  return messages->onStream([&](OrderedStream &stream) {
    auto ok = stream.wait(awaited);
    for (const Piece &piece : exchange.pieces) {
      if (ok && piece.position == exchange.own) {
        ok = launchSum(stream, exchange, piece.whole, piece.own, piece.sum, piece.bytes, false, false);
      } else if (ok && exchange.kind == ExchangeKind::Reduce) { // the next step begins with zeros
        ok = api.fill(piece.whole, 0, piece.bytes, stream.handle());
      }
    }
    return ok ? stream.record(exchange.done) : std::move(ok);
  });
}

Result<void> CudaReplicas::addUp(const Sum &sum) {
  const bool isOwn = sum.position == ofSums.own, ofAll = sum.position < 0;
  for (std::uint64_t at = 0; at < sum.bytes; at += chunkBytes) {
    const std::uint64_t bytes = std::min(chunkBytes, sum.bytes - at);
    std::byte *place = scratch;
    posted = 0;
    if (auto ok = messages->beginGroup(ofSums.replicas); !ok) {
      return ok;
    }
    for (int position = 0; position < ofSums.replicas.size; ++position) {
      if (position == ofSums.own) {
        continue;
      }
      auto ok = ofAll || position == sum.position
                    ? postTo(ofSums, true, position, sum.data + at, bytes, &ofSums.made)
                    : Result<void>();
      if (ok && (ofAll || isOwn)) {
        ok = postTo(ofSums, false, position, place, bytes, nullptr);
        place += catalogue::aligned(bytes);
      }
      if (!ok) {
        return ok;
      }
    }
    ofSums.sends.resize(posted);
    awaited.clear();
    auto ok = messages->endGroup();
    ok = ok ? await(ofSums, false, true) : std::move(ok);
    awaited.clear();
    ok = ok ? await(ofSums, true, false) : std::move(ok);
    ofSums.sends.resize(2 * static_cast<std::size_t>(ofSums.replicas.size - 1));
    if (!ok) {
      return ok;
    }
    awaited.push_back(&ofSums.made);
    ok = messages->onStream([&](OrderedStream &stream) {
      auto waits = stream.wait(awaited);
      if (!waits) {
        return waits;
      }
      return ofAll || isOwn
                 ? launchSum(stream, ofSums, sum.data + at, scratch, nullptr, bytes, sum.isDouble, sum.isMean)
                 : api.fill(sum.data + at, 0, bytes, stream.handle());
    });
    if (!ok) {
      return ok;
    }
  }
  return {};
}

Result<void> CudaReplicas::reduce(int stage) {
  for (unsigned i = 0; i < exchanges.size(); ++i) {
    if (exchanges[i].stage == stage && exchanges[i].kind == ExchangeKind::Reduce && exchanges[i].isUnderWay) {
      if (auto ok = end(i); !ok) {
        return ok;
      }
    }
  }
  const auto isOf = [&](const Sum &sum) { return sum.stage == stage; };
  const bool adds = std::ranges::any_of(sums, isOf);
  auto ok = adds ? computing.record(ofSums.made) : Result<void>();
  for (const Sum &sum : sums) {
    ok = ok && isOf(sum) ? addUp(sum) : std::move(ok);
  }
  awaited.clear();
  if (ok && adds) {
    ok = messages->onStream([&](OrderedStream &stream) { return stream.record(ofSums.done); });
  }
  if (adds && stage >= 0) {
    awaited.push_back(&ofSums.done);
  }
  for (const Exchange &exchange : exchanges) {
    if (exchange.stage == stage && exchange.kind == ExchangeKind::Reduce) {
      awaited.push_back(&exchange.done);
    }
  }
  return ok ? computing.wait(awaited) : std::move(ok);
}

Result<bool> CudaReplicas::gather(TaskKind task, int stage) {
  const auto gather = std::ranges::find_if(
      gathers, [&](const Gather &known) { return known.task == task && known.stage == stage; });
  if (gather == gathers.end()) {
    return false;
  }
  auto ok = computing.record(gather->made);
  // When losses are added up the step has read the old weights; of sums and partial sums nobody needs the old
  // ones.
  const OrderedEvent *const free = task == TaskKind::Gather ? &ofSums.made : nullptr;
  posted = 0;
  ok = ok ? messages->beginGroup(gather->replicas) : std::move(ok);
  for (const Piece &piece : gather->pieces) {
    for (int position = 0; ok && position < gather->replicas.size; ++position) {
      if (position != gather->own && (piece.position == gather->own || piece.position == position)) {
        const bool sends = piece.position == gather->own;
        ok = postTo(*gather, sends, position, piece.whole, piece.bytes, sends ? &gather->made : free);
      }
    }
  }
  ok = ok ? messages->endGroup() : std::move(ok);
  awaited.clear();
  ok = ok ? await(*gather, true, false) : std::move(ok);
  if (ok && task != TaskKind::Gather) { // NORM adds to sums of tied parameters, and writes partial sums
    keepSends(*gather, untilNorm);
  }
  if (ok && task != TaskKind::AllGather) {
    keepSends(*gather, untilUpdate);
  }
  awaited.clear();
  ok = ok ? await(*gather, false, true) : std::move(ok);
  ok = ok ? computing.wait(awaited) : std::move(ok);
  return ok ? Result<bool>(true) : ok.takeError();
}

Result<void> CudaReplicas::finishSends(TaskKind task) {
  if (task != TaskKind::Norm && task != TaskKind::Update) {
    return {};
  }
  awaited.clear();
  for (const OrderedEvent *&event : task == TaskKind::Norm ? untilNorm : untilUpdate) {
    if (event) {
      awaited.push_back(event);
      event = nullptr;
    }
  }
  return computing.wait(awaited);
}

Result<void> CudaReplicas::finishSends() {
  auto ok = finishSends(TaskKind::Norm);
  return ok ? finishSends(TaskKind::Update) : std::move(ok);
}

} // namespace stagewright::runtime
