#include "runtime/exec/ReplicaExchange.h"

#include "runtime/comm/MessageTags.h"
#include "runtime/comm/OrderedSum.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace stagewright::runtime {

using executable::ExchangeKind;

ReplicaExchange::ReplicaExchange(const executable::Exchange &exchange, const executable::RankPlan &plan,
                                 const RankMemory &memory, Communicator &communicator, RankGroup replicas,
                                 int group, Unsent &unsent, WireFormat *wireOfSums, const float *scale)
    : ProgramExchange(exchange.kind()), communicator(communicator), replicas(replicas),
      own(replicas.position(communicator.rank())), unsent(unsent),
      wire(exchange.kind() == ExchangeKind::Gather ? nullptr : wireOfSums), scale(scale) {
  const bool gathers = what() == ExchangeKind::Gather;
  const ArenaBases &arenas = memory.addresses();
  std::byte *scratch = communicationArena(plan) < 0
                           ? nullptr
                           : arenas[static_cast<unsigned>(communicationArena(plan))] + exchange.scratch();
  std::byte *sent =
      scratch && wire ? scratch + scratchOf(exchange, replicas.size, wire->layout).contributed : nullptr;
  const auto others = static_cast<std::size_t>(replicas.size - 1);
  std::size_t expected = 0;
  for (const executable::ExchangePiece *piece : *exchange.pieces()) {
    const int position = gathers ? piece->replica() % group : piece->replica();
    const bool isOwn = position == own;
    std::byte *place = isOwn ? scratch : nullptr;
    Place file;
    if (gathers && (isOwn || others == 0)) {
      const Place shard =
          memory.at(static_cast<unsigned>(piece->shard_arena()), piece->shard_offset(), piece->replica());
      place = shard.memory;
      file = shard.file ? shard : Place();
      reads = reads || file.file;
    }
    std::byte *sum = isOwn && what() == ExchangeKind::Accumulate
                         ? arenas[static_cast<unsigned>(piece->shard_arena())] + piece->shard_offset()
                         : nullptr;
    float *residual = what() == ExchangeKind::Reduce && piece->shard_arena() >= 0
                          ? reinterpret_cast<float *>(arenas[static_cast<unsigned>(piece->shard_arena())] +
                                                      piece->shard_offset())
                          : nullptr;
    pieces.push_back({.position = position,
                      .whole = arenas[piece->arena()] + piece->offset(),
                      .own = place,
                      .sum = sum,
                      .bytes = piece->bytes(),
                      .file = file,
                      .sent = sent,
                      .residual = residual});
    const std::size_t contributed = catalogue::aligned(wireBytes(pieces.back()));
    scratch += isOwn && !gathers ? others * contributed : 0;
    sent += wire ? contributed : 0;
    expected += isOwn ? others : 1;
    total += piece->bytes();
  }
  requests.reserve(expected);
  terms.resize(static_cast<std::size_t>(replicas.size));
}

/// From one replica to another: sums of the one's pieces, or weights of the other's.
static std::size_t messagesOf(const executable::Exchange &exchange, int group) {
  std::map<int, std::size_t> pieces; // by replica, or by its number in a group
  std::size_t most = 0;
  for (const executable::ExchangePiece *piece : *exchange.pieces()) {
    const bool gathers = exchange.kind() == ExchangeKind::Gather;
    most = std::max(most, ++pieces[gathers ? piece->replica() % group : piece->replica()]);
  }
  return movesOffloaded(exchange.kind()) ? 0 : most;
}

//   places of a channel   | a: waited for | b: under way | c: waited for | d: begins |     b to d are taken
std::size_t ReplicaExchange::messagesOf(const executable::RankPlan &plan, int group) {
  std::size_t most = 0, open = 0;
  for (const executable::Program *program : *plan.programs()) {
    std::size_t begun = 0, taken = 0;     // messages since the program's first exchange
    std::map<unsigned, std::size_t> live; // by point of the beginning
    std::map<unsigned, unsigned> numbers; // of live exchanges
    for (unsigned i = 0; program->points() && i < program->points()->size(); ++i) {
      const unsigned exchange = program->points()->Get(i)->exchange();
      if (program->points()->Get(i)->begins()) {
        numbers[exchange] = i;
        live[i] = begun;
        begun += runtime::messagesOf(*plan.exchanges()->Get(exchange), group);
      } else {
        live.erase(numbers[exchange]);
      }
      taken = live.empty() ? 0 : begun - live.begin()->second;
      most = std::max(most, taken);
    }
    open += taken; // until REDUCE
  }
  return most + open;
}

std::byte *ReplicaExchange::contribution(const Piece &piece, int position) const {
  const int slot = position < own ? position : position - 1;
  return piece.own + static_cast<std::size_t>(slot) * catalogue::aligned(wireBytes(piece));
}

Result<void> ReplicaExchange::track(Result<Request> posted) {
  if (!posted) {
    return posted.takeError();
  }
  requests.push_back(*posted);
  return {};
}

Result<void> ReplicaExchange::start() {
  requests.clear();
  if (auto ok = reads ? Result<void>() : sendUnsent(); !ok) {
    return ok;
  }
  for (Piece &piece : pieces) {
    if (auto ok = what() == ExchangeKind::Gather ? postWeights(piece) : postSums(piece); !ok) {
      return ok;
    }
  }
  if (reads) {
    unsent.push_back(this);
  }
  return {};
}

void ReplicaExchange::pack(const Piece &piece) const {
  const std::size_t count = piece.bytes / sizeof(float);
  for (std::size_t at = 0; at < count; at += WireFormat::kBlock) {
    wire->pack(reinterpret_cast<const float *>(piece.whole) + at,
               piece.residual ? piece.residual + at : nullptr, scale ? *scale : 1.0f,
               piece.sent + wire->bytes(at), std::min(WireFormat::kBlock, count - at));
  }
}

Result<void> ReplicaExchange::postSums(const Piece &piece) {
  if (wire) {
    pack(piece);
  }
  if (piece.position != own) {
    return track(communicator.postSend(replicas.at(piece.position), tags::kReplicas,
                                       wire ? piece.sent : piece.whole, wireBytes(piece)));
  }
  for (int position = 0; position < replicas.size; ++position) {
    if (position == own) {
      continue;
    }
    if (auto ok = track(communicator.postReceive(replicas.at(position), tags::kReplicas,
                                                 contribution(piece, position), wireBytes(piece)));
        !ok) {
      return ok;
    }
  }
  return {};
}

Result<void> ReplicaExchange::postWeights(Piece &piece) {
  if (piece.file.file) {
    auto operation = piece.file.file->beginRead(piece.file.offset, piece.bytes, piece.whole);
    piece.operation = operation ? *operation : 0;
    return operation ? Result<void>() : operation.takeError();
  }
  if (!piece.own) {
    return track(
        communicator.postReceive(replicas.at(piece.position), tags::kReplicas, piece.whole, piece.bytes));
  }
  std::memcpy(piece.whole, piece.own, piece.bytes);
  return reads ? Result<void>() : sendWeights(piece);
}

Result<void> ReplicaExchange::sendWeights(const Piece &piece) {
  for (int step = 1; step < replicas.size; ++step) { // not all to the same one first
    const int peer = replicas.at((own + step) % replicas.size);
    if (auto ok = track(
            communicator.postSend(peer, tags::kReplicas, piece.own ? piece.own : piece.whole, piece.bytes));
        !ok) {
      return ok;
    }
  }
  return {};
}

/// Of all exchanges that have begun to read.
Result<void> ReplicaExchange::sendUnsent() {
  for (ReplicaExchange *exchange : unsent) {
    for (const Piece &piece : exchange->pieces) {
      const bool isOwn = piece.own || piece.file.file;
      auto ok = piece.file.file ? piece.file.file->end(piece.operation) : Result<void>();
      if (ok = ok && isOwn ? exchange->sendWeights(piece) : std::move(ok); !ok) {
        return ok;
      }
    }
  }
  unsent.clear();
  return {};
}

Result<void> ReplicaExchange::complete() {
  if (auto ok = sendUnsent(); !ok) {
    return ok;
  }
  for (const Request request : requests) {
    if (auto ok = communicator.wait(request); !ok) {
      return ok;
    }
  }
  for (const Piece &piece : pieces) {
    if (what() != ExchangeKind::Gather && piece.position == own) {
      wire ? addPacked(piece) : add(piece);
    } else if (what() == ExchangeKind::Reduce) {
      std::memset(piece.whole, 0, piece.bytes); // the next step begins with zeros
    }
  }
  return {};
}

void ReplicaExchange::add(const Piece &piece) {
  for (int position = 0; position < replicas.size; ++position) {
    terms[static_cast<std::size_t>(position)] = position == own ? piece.whole : contribution(piece, position);
  }
  addInOrder(terms, piece.bytes, Element::F32, piece.whole);
  if (piece.sum) {
    addTo(reinterpret_cast<float *>(piece.sum), reinterpret_cast<const float *>(piece.whole),
          piece.bytes / sizeof(float));
  }
}

/// What has been converted, its own part too: the sum is the same whoever adds it up.
void ReplicaExchange::addPacked(const Piece &piece) const {
  const std::size_t elements = piece.bytes / sizeof(float);
  float term[WireFormat::kBlock];
  for (std::size_t at = 0; at < elements; at += WireFormat::kBlock) {
    const std::size_t count = std::min(WireFormat::kBlock, elements - at);
    float *const whole = reinterpret_cast<float *>(piece.whole) + at;
    for (int position = 0; position < replicas.size; ++position) {
      const std::byte *packed = position == own ? piece.sent : contribution(piece, position);
      wire->unpack(packed + wire->bytes(at), position == 0 ? whole : term, count);
      if (position > 0) {
        addTo(whole, term, count);
      }
    }
    if (piece.sum) {
      addTo(reinterpret_cast<float *>(piece.sum) + at, whole, count);
    }
  }
}

} // namespace stagewright::runtime
