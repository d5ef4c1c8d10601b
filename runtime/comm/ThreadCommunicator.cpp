#include "runtime/comm/ThreadCommunicator.h"

#include "runtime/device/RankPinning.h"

#include <cstring>
#include <sched.h>

namespace stagewright::runtime {
namespace {

constexpr int kTagsOfAPair = Communicator::kTags + 1;

} // namespace

struct ThreadGroup::Shared {
  class Endpoint;
  Shared(int ranks, std::size_t capacity, Mover mover);

  std::vector<std::unique_ptr<Endpoint>> endpoints;
  const Mover mover;
  std::atomic<bool> aborted{false};
};

class ThreadGroup::Shared::Endpoint final : public Communicator {
public:
  Endpoint(Shared &shared, int rank, int size, std::size_t capacity)
      : Communicator(rank, size, capacity, size > usableCores()), shared(shared),
        incoming(static_cast<std::size_t>(size) * kTagsOfAPair) {}

  void abort(const Error &error) override;

private:
  /// The two ends of a channel, as far as they are in use.
  struct Channel {
    std::mutex mutex;
    Lane *send = nullptr;
    Lane *receive = nullptr;
  };

  void open(Lane &lane) override;
  void publish(Lane &lane, std::uint64_t number) override;
  void take(Lane &lane, std::uint64_t number) override;
  void settle() override;
  void move(Lane &lane, Lane &other, std::uint64_t number);

  Endpoint &peer(const Lane &lane) { return *shared.endpoints[lane.peer]; }
  /// Channels lie with their receiver.
  Channel &channel(const Lane &lane) {
    const bool sends = lane.direction == Direction::Send;
    Endpoint &receiver = sends ? peer(lane) : *this;
    const int sender = sends ? rank() : lane.peer;
    return receiver.incoming[static_cast<std::size_t>(sender) * kTagsOfAPair + lane.tag];
  }

  Shared &shared;
  std::vector<Channel> incoming; ///< [sender][tag]
  std::atomic<bool> copying{false};
};

ThreadGroup::Shared::Shared(int ranks, std::size_t capacity, Mover mover) : mover(mover) {
  for (int rank = 0; rank < ranks; ++rank) {
    endpoints.push_back(std::make_unique<Endpoint>(*this, rank, ranks, capacity));
  }
}

void ThreadGroup::Shared::Endpoint::open(Lane &lane) {
  Channel &between = channel(lane);
  std::lock_guard lock(between.mutex);
  (lane.direction == Direction::Send ? between.send : between.receive) = &lane;
}

void ThreadGroup::Shared::Endpoint::publish(Lane &lane, std::uint64_t number) {
  const bool sends = lane.direction == Direction::Send;
  Lane *other;
  {
    Channel &between = channel(lane);
    std::lock_guard lock(between.mutex);
    lane.posted.store(number + 1, std::memory_order_relaxed);
    other = sends ? between.receive : between.send;
    if (!other || other->posted.load(std::memory_order_relaxed) <= number) {
      return; // the other side comes second
    }
  }
  if (sends && peer(lane).waitsFor(*other, number)) {
    peer(lane).advance(*other, number, Message::Offered);
  } else {
    move(lane, *other, number);
  }
}

void ThreadGroup::Shared::Endpoint::take(Lane &lane, std::uint64_t number) {
  move(lane, *channel(lane).send, number);
}

// Copies a message between this rank's lane and the one at the other end of the channel.
void ThreadGroup::Shared::Endpoint::move(Lane &lane, Lane &other, std::uint64_t number) {
  const bool sends = lane.direction == Direction::Send;
  // Against settle(): either it sees that we copy, or we see that the group has been aborted.
  copying.store(true);
  if (!shared.aborted.load()) {
    const Message &source = (sends ? lane : other).message(number);
    Message &target = (sends ? other : lane).message(number);
    target.sent = source.bytes;
    if (source.bytes == target.bytes && source.bytes > 0) {
      shared.mover(target.data, source.data, source.bytes);
    }
    peer(lane).advance(other, number, Message::Complete);
    advance(lane, number, Message::Complete);
  }
  copying.store(false);
}

void ThreadGroup::Shared::Endpoint::settle() {
  for (const std::unique_ptr<Endpoint> &endpoint : shared.endpoints) {
    while (endpoint->copying.load()) {
      sched_yield();
    }
  }
}

void ThreadGroup::Shared::Endpoint::abort(const Error &error) {
  shared.aborted.store(true);
  const std::string who = "rank " + std::to_string(rank());
  const Error seen =
      error.kind == ErrorKind::Interrupted ? error : rankError(who, "stopped: " + error.text());
  for (const std::unique_ptr<Endpoint> &endpoint : shared.endpoints) {
    endpoint->fail(seen);
  }
}

void moveBytes(void *to, const void *from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}

ThreadGroup::ThreadGroup(int ranks, std::size_t capacity, Mover mover)
    : shared(std::make_unique<Shared>(ranks, capacity, mover)) {}

ThreadGroup::~ThreadGroup() = default;

int ThreadGroup::size() const {
  return static_cast<int>(shared->endpoints.size());
}

Communicator &ThreadGroup::communicator(int rank) {
  return *shared->endpoints[rank];
}

} // namespace stagewright::runtime
