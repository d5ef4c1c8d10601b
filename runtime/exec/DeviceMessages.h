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

#include "kernels/cuda/Api.h"
#include "runtime/comm/Communicator.h"

#include <optional>
#include <vector>

namespace stagewright::runtime {

/// What one side says of a message, from post to wait. Events: none: at once.
struct DeviceMessage {
  void *data = nullptr;
  std::size_t bytes = 0;
  cuda::Event ready;   ///< of a send: the bytes have been made; of a receive: the place is free
  cuda::Event arrived; ///< of a receive: its own; of a send: the receiver's, once both have been posted
  cuda::Api *api = nullptr;
  cuda::Stream stream; ///< of a receive
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

  /// Makes room for messages [0, count) and a stream for what is received. Errors: of the device.
  Result<void> open(std::size_t count);

  Result<void> post(std::size_t number, bool send, int peer, int tag, void *data, std::size_t bytes,
                    cuda::Event ready);
  /// Until the other side has posted; then `stream` waits until the bytes have moved.
  Result<void> wait(std::size_t number, cuda::Stream stream);
  /// The receives that are posted from now on wait for the same on their stream.
  cuda::Stream receiving() const { return stream; }

private:
  cuda::Api &api;
  Communicator &communicator;
  cuda::Stream stream;
  std::vector<DeviceMessage> messages;
  std::vector<cuda::Event> events; ///< one for each message: of its arrival
  std::vector<Request> requests;
};

} // namespace stagewright::runtime

#endif
