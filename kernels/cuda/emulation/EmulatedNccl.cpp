#include "kernels/cuda/emulation/EmulatedNccl.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace stagewright::cuda::emulation {

/// One side of a message whose exchange is under way.
struct Side {
  void *data = nullptr;
  std::size_t bytes = 0;
  EmulatedNccl::Exchange *exchange = nullptr;
};

struct EmulatedNccl::Meeting {
  int ranks = 0, joined = 0;
  struct Way {
    std::deque<Side> sent, received;
  };
  std::map<std::pair<int, int>, Way> ways; ///< by sender and receiver
};

struct EmulatedNccl::Communicator {
  std::shared_ptr<Meeting> meeting;
  int rank = 0;
  std::vector<std::weak_ptr<Exchange>> exchanges; ///< streams keep them until they have ended
};

EmulatedNccl::EmulatedNccl() = default;
EmulatedNccl::~EmulatedNccl() = default;

ConnectionId EmulatedNccl::id() {
  ConnectionId made = {};
  const std::uint64_t number = ++ids;
  std::memcpy(made.data(), &number, sizeof number);
  return made;
}

Result<EmulatedNccl::Communicator *> EmulatedNccl::connect(const ConnectionId &id, int rank, int ranks,
                                                           std::unique_lock<std::mutex> &lock,
                                                           std::condition_variable &changed) {
  constexpr std::chrono::seconds kPatience{60};
  std::uint64_t number = 0;
  std::memcpy(&number, id.data(), sizeof number);
  std::shared_ptr<Meeting> &entry = meetings[number];
  if (!entry) {
    entry = std::make_shared<Meeting>();
    entry->ranks = ranks;
  }
  const std::shared_ptr<Meeting> meeting = entry;
  ++meeting->joined;
  changed.notify_all();
  if (!changed.wait_for(lock, kPatience, [&] { return meeting->joined == meeting->ranks; })) {
    return bugError("emulated NCCL", "some ranks have not come to connect");
  }
  return new Communicator{meeting, rank, {}};
}

void EmulatedNccl::leave(Communicator *communicator) {
  delete communicator;
}

void EmulatedNccl::abort(Communicator *communicator) {
  for (const auto &known : communicator->exchanges) {
    if (const auto exchange = known.lock()) {
      for (auto &[ends, way] : communicator->meeting->ways) {
        const auto isIts = [&](const Side &side) { return side.exchange == exchange.get(); };
        std::erase_if(way.sent, isIts);
        std::erase_if(way.received, isIts);
      }
      exchange->isUnderWay = true;
      exchange->open = 0;
    }
  }
  leave(communicator);
}

std::shared_ptr<EmulatedNccl::Exchange> EmulatedNccl::begin(Communicator *communicator,
                                                            std::span<const Exchanged> messages) {
  auto begun = std::make_shared<Exchange>(Exchange{
      communicator->meeting, communicator->rank, {messages.begin(), messages.end()}, messages.size()});
  std::erase_if(communicator->exchanges, [](const auto &exchange) { return exchange.expired(); });
  communicator->exchanges.push_back(begun);
  return begun;
}

bool EmulatedNccl::isUnderWay(const Communicator &communicator) const {
  return std::ranges::any_of(communicator.exchanges,
                             [](const auto &exchange) { return !exchange.expired(); });
}

Result<bool> EmulatedNccl::advance(Exchange &exchange) {
  if (!std::exchange(exchange.isUnderWay, true)) {
    for (const Exchanged &message : exchange.messages) {
      Meeting::Way &way = exchange.meeting->ways[message.sends ? std::pair(exchange.rank, message.peer)
                                                               : std::pair(message.peer, exchange.rank)];
      (message.sends ? way.sent : way.received).push_back({message.data, message.bytes, &exchange});
    }
  }
  for (auto &[ends, way] : exchange.meeting->ways) {
    for (; !way.sent.empty() && !way.received.empty(); way.sent.pop_front(), way.received.pop_front()) {
      const Side &from = way.sent.front(), &to = way.received.front();
      if (from.bytes != to.bytes) {
        return bugError("emulated NCCL", std::to_string(from.bytes) + " bytes are sent, " +
                                             std::to_string(to.bytes) + " received");
      }
      std::memcpy(to.data, from.data, to.bytes);
      --from.exchange->open;
      --to.exchange->open;
    }
  }
  return exchange.open == 0;
}

} // namespace stagewright::cuda::emulation
