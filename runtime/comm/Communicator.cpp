#include "runtime/comm/Communicator.h"

#include "runtime/comm/SharedWindow.h"
#include "runtime/device/Futex.h"

#include <algorithm>

namespace stagewright::runtime {
namespace {

constexpr int kLanesPerPeer = Communicator::kTags + 1; // the collectives have one of their own
constexpr int kNumberBits = 42;
constexpr int kPeerBits = 16;
constexpr int kTagBits = 4;

struct Unpacked {
  Direction direction;
  int tag;
  int peer;
  std::uint64_t number;
};

Request pack(Direction direction, int tag, int peer, std::uint64_t number) {
  std::uint64_t id = static_cast<std::uint64_t>(direction);
  id = id << kTagBits | static_cast<std::uint64_t>(tag);
  id = id << kPeerBits | static_cast<std::uint64_t>(peer);
  return {id << kNumberBits | number};
}

Unpacked unpack(std::uint64_t id) {
  const auto take = [&id](int bits) {
    const std::uint64_t field = id & ((std::uint64_t{1} << bits) - 1);
    id >>= bits;
    return field;
  };
  const std::uint64_t number = take(kNumberBits);
  const int peer = static_cast<int>(take(kPeerBits));
  const int tag = static_cast<int>(take(kTagBits));
  return {static_cast<Direction>(id), tag, peer, number};
}

std::string describe(Direction direction, int peer, int tag) {
  return (direction == Direction::Send ? "send to rank " : "receive from rank ") + std::to_string(peer) +
         " (tag " + std::to_string(tag) + ")";
}

} // namespace

std::string Waiting::text() const {
  if (!waits) {
    return "does not wait";
  }
  const std::string channel =
      tag == Communicator::kCollectiveTag ? " (a collective)" : " (tag " + std::to_string(tag) + ")";
  return direction == Direction::Receive
             ? "waits for message " + std::to_string(number) + " from rank " + std::to_string(peer) + channel
             : "waits until rank " + std::to_string(peer) + " takes message " + std::to_string(number) +
                   channel;
}

Communicator::Communicator(int rank, int size, std::size_t capacity, bool crowded)
    : ownRank(rank), rankCount(size), ringCapacity(std::max<std::size_t>(capacity, 1)),
      spin(crowded ? 0 : kSpinNanoseconds), lanes(static_cast<std::size_t>(2) * size * kLanesPerPeer) {}

Communicator::~Communicator() = default;

Communicator::Lane &Communicator::lane(Direction direction, int peer, int tag) {
  const int half = direction == Direction::Send ? 0 : 1;
  std::unique_ptr<Lane> &lane =
      lanes[(static_cast<std::size_t>(half) * rankCount + peer) * kLanesPerPeer + tag];
  if (!lane) {
    lane.reset(new Lane{direction, peer, tag, std::vector<Message>(ringCapacity)});
    open(*lane);
  }
  return *lane;
}

Result<Request> Communicator::postSend(int peer, int tag, const void *data, std::size_t bytes) {
  if (tag >= kTags) {
    return bugError(describe(Direction::Send, peer, tag), "there is no such tag");
  }
  return post(Direction::Send, peer, tag, const_cast<void *>(data), bytes); // only read
}

Result<Request> Communicator::postReceive(int peer, int tag, void *data, std::size_t bytes) {
  if (tag >= kTags) {
    return bugError(describe(Direction::Receive, peer, tag), "there is no such tag");
  }
  return post(Direction::Receive, peer, tag, data, bytes);
}

Result<Request> Communicator::post(Direction direction, int peer, int tag, void *data, std::size_t bytes) {
  if (peer < 0 || peer >= rankCount || tag < 0) {
    return bugError(describe(direction, peer, tag),
                    "there is no such channel among " + std::to_string(rankCount) + " ranks");
  }
  if (failed.load(std::memory_order_acquire)) {
    return failure();
  }
  Lane &own = lane(direction, peer, tag);
  const std::uint64_t number = own.posted.load(std::memory_order_relaxed);
  Message &message = own.message(number);
  if (message.state.load(std::memory_order_relaxed) != Message::Free) {
    return bugError(describe(direction, peer, tag),
                    "more than " + std::to_string(ringCapacity) + " requests are outstanding on one channel");
  }
  message.data = static_cast<std::byte *>(data);
  message.bytes = message.sent = bytes;
  message.state.store(Message::Posted, std::memory_order_relaxed);
  publish(own, number);
  return pack(direction, tag, peer, number);
}

Result<Communicator::Lane *> Communicator::outstandingLane(Request request) {
  const auto [direction, tag, peer, number] = unpack(request.id);
  if ((direction == Direction::Send || direction == Direction::Receive) && tag < kLanesPerPeer &&
      peer < rankCount) {
    Lane &own = lane(direction, peer, tag);
    const std::uint64_t posted = own.posted.load(std::memory_order_relaxed);
    // Numbers lower than posted - capacity have been waited for: their places have been taken again.
    if (number < posted && posted - number <= ringCapacity &&
        own.message(number).state.load(std::memory_order_relaxed) != Message::Free) {
      return &own;
    }
  }
  return bugError("rank " + std::to_string(ownRank), "a request is waited for that is not outstanding");
}

Result<void> Communicator::wait(Request request) {
  Result<Lane *> found = outstandingLane(request);
  if (!found) {
    return found.takeError();
  }
  Message &message = (*found)->message(unpack(request.id).number);
  if (message.state.load(std::memory_order_acquire) != Message::Complete &&
      !sleepUntilDone(**found, request)) {
    return failure();
  }
  message.state.store(Message::Free, std::memory_order_relaxed);
  if (message.sent != message.bytes) {
    const std::string peer = std::to_string((*found)->peer);
    return bugError("rank " + std::to_string(ownRank) + ", " +
                        describe(Direction::Receive, (*found)->peer, (*found)->tag),
                    "rank " + std::to_string(ownRank) + " expects " + std::to_string(message.bytes) +
                        " bytes, but rank " + peer + " sent " + std::to_string(message.sent));
  }
  return {};
}

// Returns whether the message is complete; if not, the communicator has failed.
bool Communicator::sleepUntilDone(Lane &lane, Request request) {
  const std::uint64_t number = unpack(request.id).number;
  const std::atomic<std::uint32_t> &state = lane.message(number).state;
  const auto over = [&] { return state.load() != Message::Posted || failed.load(); };
  waitingSince.store(monotonicNanoseconds(), std::memory_order_relaxed);
  waitingFor.store(request.id);
  if (!spinUntil(spin, over)) {
    // Either the other side sees `asleep` and rings, or we see what it stored before it looked.
    asleep.store(true);
    for (std::uint32_t seen = bell.load(); !over(); seen = bell.load()) {
      futexWait(bell, seen);
    }
    asleep.store(false);
  }
  if (state.load() == Message::Offered) {
    take(lane, number);
  }
  waitingFor.store(0);
  return state.load() == Message::Complete;
}

// Returns when all ranks of the group have called it as often as this one.
void Communicator::meet(const RankGroup &group) {
  __builtin_ia32_sfence(); // what has gone past the caches is to be seen before the counts
  for (int position = 0; position < group.size; ++position) {
    if (const int rank = group.at(position); rank != ownRank) {
      windows[rank]->doneBy(ownRank).fetch_add(1);
      windows[rank]->bell.ring();
    }
  }
  SharedWindow &own = *windows[ownRank];
  for (int position = 0; position < group.size; ++position) {
    const int rank = group.at(position);
    const std::uint64_t count = windows[rank]->doneBy(ownRank).load();
    const auto over = [&] { return own.doneBy(rank).load() >= count; };
    if (over()) { // also of the own rank
      continue;
    }
    waitingSince.store(monotonicNanoseconds(), std::memory_order_relaxed);
    waitingFor.store(pack(Direction::Receive, kCollectiveTag, rank, count - 1).id);
    if (!spinUntil(spinToMeet, over)) {
      for (std::uint32_t seen = own.bell.rings.load(); !over(); seen = own.bell.rings.load()) {
        own.bell.sleep(seen);
      }
    }
    waitingFor.store(0);
  }
}

bool Communicator::waitsFor(const Lane &lane, std::uint64_t number) const {
  return waitingFor.load() == pack(lane.direction, lane.tag, lane.peer, number).id;
}

void Communicator::advance(Lane &lane, std::uint64_t number, Message::State state) {
  lane.message(number).state.store(state);
  if (asleep.load() && waitsFor(lane, number)) {
    bell.fetch_add(1);
    futexWake(&bell, 1);
  }
}

void Communicator::fail(const Error &cause) {
  {
    std::lock_guard lock(errorMutex);
    if (failed.load(std::memory_order_relaxed)) {
      return;
    }
    error = cause;
    failed.store(true);
  }
  bell.fetch_add(1);
  futexWake(&bell, 1);
}

Error Communicator::failure() {
  settle();
  std::lock_guard lock(errorMutex);
  return error;
}

std::optional<Error> Communicator::aborted() {
  return failed.load(std::memory_order_acquire) ? std::optional<Error>(failure()) : std::nullopt;
}

Waiting Communicator::waitingOn() const {
  std::uint64_t id = waitingFor.load(std::memory_order_acquire);
  std::int64_t since = 0;
  for (std::uint64_t before = ~id; before != id;) { // the two words belong together
    before = id;
    since = waitingSince.load(std::memory_order_acquire);
    id = waitingFor.load(std::memory_order_acquire);
  }
  if (id == 0) {
    return {};
  }
  const auto [direction, tag, peer, number] = unpack(id);
  return {true, direction, peer, tag, number, since};
}

} // namespace stagewright::runtime
