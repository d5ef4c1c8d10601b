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
    : communicator(communicator), replicas(replicas), own(replicas.position(communicator.rank())) {
  std::byte *scratch = nullptr;
  for (unsigned i = 0; i < plan.arenas()->size(); ++i) {
    if (plan.arenas()->Get(i)->arena_class() == executable::ArenaClass::Communication) {
      scratch = arenas[i] + exchange.scratch();
    }
  }
  std::size_t used = 0, expected = 0;
  for (const executable::ExchangePiece *piece : *exchange.pieces()) {
    const bool isOwn = piece->replica() == own;
    pieces.push_back({piece->replica(), arenas[piece->arena()] + piece->offset(),
                      isOwn ? scratch + used : nullptr, piece->bytes()});
    const auto others = static_cast<std::size_t>(replicas.size - 1);
    used += isOwn ? others * lines(piece->bytes()) : 0;
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
  return piece.scratch + static_cast<std::size_t>(slot) * lines(piece.bytes);
}

Result<void> ReplicaExchange::begin() {
  begun = monotonicNanoseconds();
  requests.clear();
  const auto post = [&](Result<Request> posted) -> Result<void> {
    if (!posted) {
      return posted.takeError();
    }
    requests.push_back(*posted);
    return {};
  };
  for (const Piece &piece : pieces) {
    if (piece.position != own) {
      if (auto ok = post(communicator.postSend(replicas.at(piece.position), kTag, piece.whole, piece.bytes));
          !ok) {
        return ok;
      }
      continue;
    }
    for (int position = 0; position < replicas.size; ++position) {
      if (position == own) {
        continue;
      }
      if (auto ok = post(communicator.postReceive(replicas.at(position), kTag, contribution(piece, position),
                                                  piece.bytes));
          !ok) {
        return ok;
      }
    }
  }
  underWay = true;
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
    if (piece.position == own) {
      add(piece);
    } else {
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
