// How the ranks of a job talk to each other.
//
// A channel is a directed pair of ranks and a tag in [0, kTags). Its k-th send meets its k-th receive, in the
// order of posting on either side; channels are independent of each other. The two sizes must agree. A send
// may complete only when its receive has been posted, so a program must not rely on buffering.
//
//     rank 0                               rank 1
//     postSend(1, tag, a, n)  ----0--->    postReceive(0, tag, p, n)
//     postSend(1, tag, b, m)  ----1--->    postReceive(0, tag, q, m)
//     wait: a may be written again         wait: p is filled
//
// One thread per rank uses a communicator (the rank's thread); abort() and waitingOn() may be called by any
// thread. Nothing is allocated after the first message of a channel and the first call of each collective.
#ifndef STAGEWRIGHT_RUNTIME_COMM_COMMUNICATOR_H
#define STAGEWRIGHT_RUNTIME_COMM_COMMUNICATOR_H

#include "error/Error.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace stagewright::runtime {

enum class Direction : std::uint8_t { Send = 1, Receive = 2 };

/// A posted send or receive: the channel and the number of the message on it. Each one is waited for once.
struct Request {
  std::uint64_t id = 0; ///< 0: none. Packed as direction(2) tag(4) peer(16) number(42).
};

/// What a rank's thread waits for. A request that is waited for by a collective has tag == kCollectiveTag.
struct Waiting {
  bool waits = false;
  Direction direction = Direction::Send;
  int peer = 0;
  int tag = 0;
  std::uint64_t number = 0; ///< of the message on its channel, or of the meeting in shared memory; from 0
  std::int64_t since = 0;   ///< nanoseconds of the monotonic clock

  /// "waits for message 17 from rank 1 (tag 0)", or "does not wait".
  std::string text() const;
};

/// The ranks first, first + step, ...: a row or a column of a mesh. Size 0: all ranks of the communicator.
struct RankGroup {
  int first = 0;
  int step = 1;
  int size = 0;

  int at(int position) const { return first + position * step; }
  /// Of a rank, which must be a member.
  int position(int rank) const { return (rank - first) / step; }
  bool contains(int rank) const {
    return rank >= first && (rank - first) % step == 0 && position(rank) < size;
  }
};

/// `bytes` at `data`, which belong to `rank` in a collective. All ranks give the same list, but for `data`.
struct Segment {
  int rank = 0;
  void *data = nullptr;
  std::size_t bytes = 0;
};

enum class Element { F32, F64 };

struct SharedWindow;

class Communicator {
public:
  static constexpr int kTags = 8;
  static constexpr int kCollectiveTag = kTags;
  /// Requests that may be outstanding (posted and not yet waited for) per channel and direction.
  static constexpr std::size_t kDefaultCapacity = 4096;

  virtual ~Communicator();
  Communicator(const Communicator &) = delete;
  Communicator &operator=(const Communicator &) = delete;

  int rank() const { return ownRank; }
  int size() const { return rankCount; }
  std::size_t capacity() const { return ringCapacity; }

  /// Starts to send or to receive `bytes` (0 is a message too). `peer` may be the own rank. The buffer
  /// belongs to the communicator until wait(). Errors: Bug (no such peer or tag, more than capacity()
  /// requests outstanding), and the errors of abort().
  Result<Request> postSend(int peer, int tag, const void *data, std::size_t bytes);
  Result<Request> postReceive(int peer, int tag, void *data, std::size_t bytes);

  /// Waits until the request is complete: a receive has filled its buffer, the buffer of a send may be
  /// written. Spins at most 20 us, only when no more ranks than cores share the machine, then sleeps. Errors:
  /// Bug when the sizes do not agree (the receiver learns it; the sender's request completes) or when the
  /// request is not outstanding; Rank or Interrupted after abort(). When an error of abort() has been
  /// returned, nobody touches the buffers of this rank's requests any more.
  Result<void> wait(Request request);

  // Collectives: all ranks of a group, which the caller is one of, call the same ones in the same order; two
  // ranks that are in several groups together meet in the same one. After an error the communicator is of no
  // more use. Error: Bug, the caller or the owner of a segment is not in the group.

  /// Returns when all ranks have called it.
  Result<void> barrier();
  /// The bytes of `root` to all ranks.
  Result<void> broadcast(void *data, std::size_t bytes, int root);
  /// In place: every segment of its rank to all ranks of the group.
  Result<void> allGather(std::span<const Segment> segments, RankGroup group = {});
  /// In place: every segment of its rank becomes the sum of the segments of all ranks of the group, ((r0 +
  /// r1) + r2) + ..., elementwise in the order of ranks. Segments of other ranks keep their values. Sizes in
  /// bytes, whole elements.
  Result<void> reduceScatter(std::span<const Segment> segments, Element element, RankGroup group = {});
  /// In place: the same sum of `count` elements, on all ranks of the group.
  Result<void> allReduce(void *data, std::size_t count, Element element, RankGroup group = {});

  /// Ends the talk of all ranks: every wait, now or later, on any rank returns an error, of kind Interrupted
  /// when `error` is, else Rank with the text of `error`. The first call counts. Under MPI it prints
  /// "stagewright: rank R: <error>" and ends the job with the exit code of `error`; it does not return there.
  virtual void abort(const Error &error) = 0;

  /// The error that abort() has given this rank; none: it has not been called.
  std::optional<Error> aborted();

  /// What this rank waits for at the moment; takes no lock.
  Waiting waitingOn() const;

protected:
  /// One message of a lane, from post to wait.
  struct Message {
    /// Offered: a receive whose message is there for take().
    enum State : std::uint32_t { Free, Posted, Offered, Complete };
    std::byte *data = nullptr;
    std::size_t bytes = 0;
    std::size_t sent = 0; ///< what the sender's size turned out to be
    std::atomic<std::uint32_t> state{Free};
  };
  /// This rank's end of a channel. Message k lies at ring[k % capacity].
  struct Lane {
    Direction direction;
    int peer;
    int tag;
    std::vector<Message> ring;
    std::atomic<std::uint64_t> posted{0};

    Message &message(std::uint64_t number) { return ring[number % ring.size()]; }
  };

  /// `crowded`: more ranks than cores share this machine, so waits do not spin.
  Communicator(int rank, int size, std::size_t capacity, bool crowded);

  /// Called by the rank's thread when it uses a lane for the first time.
  virtual void open(Lane &lane) = 0;
  /// Called by the rank's thread: raises lane.posted to number + 1 and sees to it that the message moves.
  virtual void publish(Lane &lane, std::uint64_t number) = 0;
  /// Called by the rank's thread in wait(): moves a message that was offered to it.
  virtual void take(Lane &lane, std::uint64_t number) = 0;
  /// Returns when nobody touches the buffers of an aborted communicator any more.
  virtual void settle() = 0;

  /// Whether this rank's thread is in wait() for that message. It stays there until the message has moved, or
  /// abort().
  bool waitsFor(const Lane &lane, std::uint64_t number) const;
  /// Called by whoever has moved or offers a message of this rank: wakes the rank if it waits for it.
  void advance(Lane &lane, std::uint64_t number, Message::State state);
  /// Makes all waits of this rank fail.
  void fail(const Error &error);
  /// Collectives of ranks that share a machine go through these windows, [size], null of ranks on other
  /// machines. `crowded`: more ranks than cores share it. Called before the first collective.
  void share(std::vector<SharedWindow *> ofRanks, bool crowded);

private:
  Result<Request> post(Direction direction, int peer, int tag, void *data, std::size_t bytes);
  Lane &lane(Direction direction, int peer, int tag);
  Result<Lane *> outstandingLane(Request request);
  bool sleepUntilDone(Lane &lane, Request request);
  Error failure();
  // Of collectives.
  Result<void> track(Result<Request> posted);
  Result<void> waitForTracked();
  Result<RankGroup> checked(RankGroup group, std::span<const Segment> segments) const;
  std::byte *contribution(const RankGroup &group, int half, int position);
  Result<void> beginChunk(const RankGroup &group, const Segment &chunk, int half);
  Result<void> finishChunk(const RankGroup &group, const Segment &chunk, int half, Element element);
  bool sharesMemory(const RankGroup &group) const;
  void collectShared(std::span<const Segment> segments, const RankGroup &group, std::optional<Element> sums,
                     bool gathers);
  void meet(const RankGroup &group);

  const int ownRank;
  const int rankCount;
  const std::size_t ringCapacity;
  const std::int64_t spin;                  ///< nanoseconds
  std::vector<std::unique_ptr<Lane>> lanes; ///< [direction][peer][tag], made at first use

  // The waiting rank and those who wake it.
  std::atomic<std::uint64_t> waitingFor{0}; ///< Request::id, 0: nothing
  std::atomic<std::int64_t> waitingSince{0};
  std::atomic<bool> asleep{false};
  std::atomic<std::uint32_t> bell{0};

  std::atomic<bool> failed{false};
  std::mutex errorMutex;
  Error error;

  std::vector<SharedWindow *> windows; ///< [size], or none
  std::int64_t spinToMeet = 0;         ///< nanoseconds

  std::vector<Request> tracked;
  std::vector<std::byte> contributions; ///< of other ranks of the group, [2][size - 1][chunk]
  std::vector<Request> arrivals;        ///< of the contributions, [2][size - 1]
  std::vector<const std::byte *> terms; ///< of a sum
  std::vector<Segment> pieces;
};

} // namespace stagewright::runtime

#endif
