// Messages between ranks whose memory is that of one device, or of devices that see each other: ranks are
// threads of one process, and what moves is copied by the device. What the threads hand each other is where
// the bytes are and which events stand before them; whoever comes second gives the copy to the receiver's
// stream.
//
//   sender    compute  F0 | made        .......... wait arrived | F2 writes the slot again
//   receiver  receive         wait free, wait made, copy | arrived
//             compute                                 wait arrived | F0
#ifndef STAGEWRIGHT_RUNTIME_EXEC_DEVICEMESSAGES_H
#define STAGEWRIGHT_RUNTIME_EXEC_DEVICEMESSAGES_H

#include "runtime/comm/Communicator.h"
#include "runtime/exec/StreamOrder.h"

#include <mutex>
#include <optional>
#include <vector>

namespace stagewright::runtime {

class DeviceMessages;

/// What one side says of a message, from post to wait.
struct DeviceMessage {
  void *data = nullptr;
  std::size_t bytes = 0;
  const OrderedEvent *ready = nullptr; ///< of a send: the bytes have been made; of a receive: the place is
                                       ///< free; null: at once
  OrderedEvent *arrived = nullptr;     ///< of a receive: its own; of a send: that, once both have been posted
  DeviceMessages *owner = nullptr;
  std::optional<Error> error;
};

/// The mover of the ranks' ThreadGroup: `to` and `from` are DeviceMessages.
void moveDeviceMessage(void *to, const void *from, std::size_t bytes);

/// A rank's messages, numbered by the caller. All its calls but the constructor's are of the rank's thread.
class DeviceMessages {
public:
  DeviceMessages(cuda::Api &api, Communicator &communicator) : api(api), communicator(communicator) {}
  ~DeviceMessages();
  DeviceMessages(const DeviceMessages &) = delete;

  /// Makes room for messages [0, count) and a stream for what is received: `number` of all `streams`. Errors:
  /// of the device.
  Result<void> open(std::size_t count, std::size_t number, std::size_t streams);

  /// `ready` stands until the message has been waited for.
  Result<void> post(std::size_t number, bool send, int peer, int tag, void *data, std::size_t bytes,
                    const OrderedEvent *ready);
  /// Until the other side has posted; what a stream waits for that needs the bytes, or their place.
  Result<const OrderedEvent *> arrival(std::size_t number);
  /// What is received from now on waits for these events.
  Result<void> receiveBehind(std::span<const OrderedEvent *const> events);
  /// Calls body(stream) while no other thread gives the stream anything: work between messages.
  template <typename Body>
  Result<void> onStream(Body body) {
    const std::lock_guard lock(mutex);
    return body(stream);
  }
  /// The host has waited for `other`.
  void follow(const OrderedStream &other);

private:
  friend void moveDeviceMessage(void *to, const void *from, std::size_t bytes);
  Result<void> copy(const DeviceMessage &to, const DeviceMessage &from);

  cuda::Api &api;
  Communicator &communicator;
  std::mutex mutex; ///< of the stream: threads of senders use it, too
  OrderedStream stream{api};
  std::vector<DeviceMessage> messages;
  std::vector<OrderedEvent> events; ///< one for each message: of its arrival
  std::vector<Request> requests;
};

} // namespace stagewright::runtime

#endif
