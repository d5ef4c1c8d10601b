// Messages between the memory of ranks on GPUs, given to streams: nobody waits for them on the host. Of one
// channel (sender, receiver, tag) the k-th send meets the k-th receive. A message arrives on a stream that
// the rank's other streams wait for:
//
//   sender    compute  F0 | made        .......... wait arrived | F2 writes the slot again
//   receiver  receive         wait free, wait made, copy | arrived
//             compute                                 wait arrived | F0
//
// Two ways: ranks that are threads copy from each other's memory (DeviceCopies.h), others talk by NCCL
// (NcclMessages.h).
#ifndef STAGEWRIGHT_RUNTIME_EXEC_DEVICEMESSAGES_H
#define STAGEWRIGHT_RUNTIME_EXEC_DEVICEMESSAGES_H

#include "runtime/comm/Communicator.h"
#include "runtime/exec/Interrupt.h"
#include "runtime/exec/StreamOrder.h"

#include <compare>
#include <memory>
#include <mutex>
#include <vector>

namespace stagewright::runtime {

/// All calls but the constructor's are of the rank's thread. Messages are numbered by the caller.
class DeviceMessages {
public:
  /// A channel's end.
  struct Channel {
    bool sends = false;
    int peer = 0;
    int tag = 0;
    auto operator<=>(const Channel &) const = default;
  };

  virtual ~DeviceMessages();
  DeviceMessages(const DeviceMessages &) = delete;

  /// Makes room for messages [0, count) and a stream for what is received: `number` of all `streams`. Errors:
  /// of the device.
  Result<void> open(std::size_t count, std::size_t number, std::size_t streams);
  /// Finds the other ranks. All ranks call it, in the same order of their DeviceMessages; `channels` are
  /// those of post() outside of groups, `groups` what beginGroup() names. Errors: of the device; Environment,
  /// the ranks cannot talk to each other; those of the communicator.
  virtual Result<void> connect(std::span<const Channel> channels, std::span<const RankGroup> groups) = 0;

  /// `peer` is another rank. `ready` stands until the message has been waited for: of a send, the bytes have
  /// been made; of a receive, the place is free; null: at once.
  virtual Result<void> post(std::size_t number, bool send, int peer, int tag, void *data, std::size_t bytes,
                            const OrderedEvent *ready) = 0;
  /// What is posted in between is between the ranks of a group, which all post their parts; it moves at once.
  virtual Result<void> beginGroup(const RankGroup &group) = 0;
  virtual Result<void> endGroup() = 0;
  /// What a stream waits for that needs the bytes, or their place. May wait until the other side has posted.
  virtual Result<const OrderedEvent *> arrival(std::size_t number) = 0;
  /// What is received from now on waits for these events.
  virtual Result<void> receiveBehind(std::span<const OrderedEvent *const> events) = 0;

  /// Calls body(stream) while no other thread gives the stream of groups anything: work behind the messages
  /// of groups whose arrival() has been asked for.
  template <typename Body>
  Result<void> onStream(Body body) {
    const std::lock_guard lock(mutex);
    return body(stream);
  }
  /// The host waits for what `awaited` has been given. Errors: of the device, Interrupted, failure() of this
  /// and of the rank's other messages.
  virtual Result<void> finish(const OrderedStream &awaited, std::span<DeviceMessages *const> others = {}) = 0;
  /// What has gone wrong on the way.
  virtual Result<void> failure() { return {}; }
  /// Ends the talk now, whatever is under way: behind an error somebody may never send.
  virtual void abort() {}
  /// The host has waited for `other`.
  virtual void follow(const OrderedStream &other);

protected:
  DeviceMessages(cuda::Api &api, Communicator &communicator) : api(api), communicator(communicator) {}

  cuda::Api &api;
  Communicator &communicator;
  std::mutex mutex; ///< of the stream: threads of other ranks may use it, too
  OrderedStream stream{api};
  std::vector<OrderedEvent> events; ///< one for each message: of its arrival

private:
  /// Makes room for `count` messages beside their events.
  virtual void reserve(std::size_t count) = 0;
};

/// The messages of a rank: by NCCL, or by copies between threads. `firstLane`, `interrupt`: as NcclMessages.h
/// says.
std::unique_ptr<DeviceMessages> makeDeviceMessages(cuda::Api &api, Communicator &communicator, bool usesNccl,
                                                   std::size_t firstLane, const InterruptFlag *interrupt);

} // namespace stagewright::runtime

#endif
