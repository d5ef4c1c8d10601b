#include "runtime/exec/ReplicaExchange.h"

#include "runtime/comm/OrderedSum.h"
#include "runtime/device/Futex.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

/// Channels of their own: transfers of the pipeline go between other ranks, collectives over other channels.
static constexpr int kTag = 5;

static std::size_t lines(std::size_t bytes) {
  return (bytes + catalogue::kAlignment - 1) / catalogue::kAlignment * catalogue::kAlignment;
}

ReplicaExchange::ReplicaExchange(const executable::Exchange &exchange, const executable::RankPlan &plan,
                                 const ArenaBases &arenas, Communicator &communicator, RankGroup replicas)
    : communicator(communicator), replicas(replicas), own(replicas.position(communicator.rank())),
      gathers(exchange.kind() == executable::ExchangeKind::Gather) {
  std::byte *scratch = nullptr;
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    if (plan.arenas()->Get(i)->arena_class() == executable::ArenaClass::Communication) {
      scratch = arenas[i] + exchange.scratch();
    }
  }
  const auto others = static_cast<std::size_t>(replicas.size - 1);
  std::size_t expected = 0;
  for (const executable::ExchangePiece *piece : *exchange.pieces()) {
    const bool isOwn = piece->replica() == own;
    std::byte *place = isOwn ? scratch : nullptr;
    if (gathers && (isOwn || others == 0)) {
      const auto arena = static_cast<unsigned>(piece->shard_arena());
      const std::uint64_t before = others == 0 ? plan.arenas()->Get(arena)->bytes() : 0;
      place = arenas[arena] + before * static_cast<unsigned>(piece->replica()) + piece->shard_offset();
    }
    pieces.push_back({piece->replica(), arenas[piece->arena()] + piece->offset(), place, piece->bytes()});
    scratch += isOwn && !gathers ? others * lines(piece->bytes()) : 0;
    expected += isOwn ? others : 1;
    total += piece->bytes();
  }
  requests.reserve(expected);
}

std::size_t ReplicaExchange::messagesOf(const executable::RankPlan &plan) {
  std::size_t most = 0, pieces = 0; // two exchanges that follow each other
  for (unsigned i = 0; plan.exchanges() && i < plan.exchanges()->size(); ++i) {
    const std::size_t here = plan.exchanges()->Get(i)->pieces()->size();
    most = std::max(most, pieces + here);
    pieces = here;
  }
  return most;
}

std::byte *ReplicaExchange::contribution(const Piece &piece, int position) const {
  const int slot = position < own ? position : position - 1;
  return piece.own + static_cast<std::size_t>(slot) * lines(piece.bytes);
}

Result<void> ReplicaExchange::track(Result<Request> posted) {
  if (!posted) {
    return posted.takeError();
  }
  requests.push_back(*posted);
  return {};
}

Result<void> ReplicaExchange::begin() {
  begun = monotonicNanoseconds();
  requests.clear();
  for (const Piece &piece : pieces) {
    if (auto ok = gathers ? postWeights(piece) : postSums(piece); !ok) {
      return ok;
    }
  }
  underWay = true;
  return {};
}

Result<void> ReplicaExchange::postSums(const Piece &piece) {
  if (piece.position != own) {
    return track(communicator.postSend(replicas.at(piece.position), kTag, piece.whole, piece.bytes));
  }
  for (int position = 0; position < replicas.size; ++position) {
    if (position == own) {
      continue;
    }
    if (auto ok = track(communicator.postReceive(replicas.at(position), kTag, contribution(piece, position),
                                                 piece.bytes));
        !ok) {
      return ok;
    }
  }
  return {};
}

Result<void> ReplicaExchange::postWeights(const Piece &piece) {
  if (piece.own) {
    std::memcpy(piece.whole, piece.own, piece.bytes);
  } else {
    return track(communicator.postReceive(replicas.at(piece.position), kTag, piece.whole, piece.bytes));
  }
  for (int step = 1; step < replicas.size; ++step) { // not all to the same one first
    const int peer = replicas.at((own + step) % replicas.size);
    if (auto ok = track(communicator.postSend(peer, kTag, piece.own, piece.bytes)); !ok) {
      return ok;
    }
  }
  return {};
}

Result<void> ReplicaExchange::end() {
  if (!underWay) {
    if (auto ok = begin(); !ok) {
      return ok;
    }
  }
  for (const Request request : requests) {
    if (auto ok = communicator.wait(request); !ok) {
      return ok;
    }
  }
  for (const Piece &piece : pieces) {
    if (!gathers && piece.position == own) {
      add(piece);
    } else if (!gathers) {
      std::memset(piece.whole, 0, piece.bytes); // the next step begins with zeros
    }
  }
  underWay = false;
  return {};
}

/// Blocks that stay in the cache while all replicas' parts of them are added.
void ReplicaExchange::add(const Piece &piece) const {
  constexpr std::size_t block = 16 << 10;
  for (std::size_t begin = 0; begin < piece.bytes; begin += block) {
    const std::size_t bytes = std::min(block, piece.bytes - begin);
    const auto term = [&](int position) {
      return reinterpret_cast<float *>((position == own ? piece.whole : contribution(piece, position)) +
                                       begin);
    };
    float *sum = term(0);
    for (int position = 1; position < replicas.size; ++position) {
      addTo(sum, term(position), bytes / sizeof(float));
    }
    if (own != 0) {
      std::memcpy(piece.whole + begin, sum, bytes);
    }
  }
}

} // namespace stagewright::runtime
