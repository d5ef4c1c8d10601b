// Messages between ranks whose memory is that of one device, or of devices that see each other: ranks are
// threads of one process, and what moves is copied by the device. What the threads hand each other is where
// the bytes are and which events stand before them; whoever comes second gives the copy to the receiver's
// stream.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_DEVICECOPIES_H
#define STAGEWRIGHT_RUNTIME_EXEC_DEVICECOPIES_H

#include "runtime/exec/DeviceMessages.h"

#include <optional>

namespace stagewright::runtime {

class DeviceCopies;

/// What one side says of a message, from post to wait.
struct DeviceCopy {
  void *data = nullptr;
  std::size_t bytes = 0;
  const OrderedEvent *ready = nullptr; ///< as in post()
  OrderedEvent *arrived = nullptr;     ///< of a receive: its own; of a send: that, once both have been posted
  DeviceCopies *owner = nullptr;
  std::optional<Error> error;
};

/// The mover of the ranks' ThreadGroup: `to` and `from` are DeviceCopy.
void moveDeviceCopy(void *to, const void *from, std::size_t bytes);

class DeviceCopies final : public DeviceMessages {
public:
  DeviceCopies(cuda::Api &api, Communicator &communicator) : DeviceMessages(api, communicator) {}

  Result<void> connect(std::span<const Channel>, std::span<const RankGroup>) override { return {}; }
  Result<void> post(std::size_t number, bool send, int peer, int tag, void *data, std::size_t bytes,
                    const OrderedEvent *ready) override;
  Result<void> beginGroup(const RankGroup &) override { return {}; }
  Result<void> endGroup() override { return {}; }
  Result<const OrderedEvent *> arrival(std::size_t number) override;
  Result<void> receiveBehind(std::span<const OrderedEvent *const> events) override;
  Result<void> finish(const OrderedStream &awaited, std::span<DeviceMessages *const>) override {
    return api.synchronize(awaited.handle());
  }

private:
  friend void moveDeviceCopy(void *to, const void *from, std::size_t bytes);
  void reserve(std::size_t count) override;
  Result<void> copy(const DeviceCopy &to, const DeviceCopy &from);

  std::vector<DeviceCopy> messages;
  std::vector<Request> requests;
};

} // namespace stagewright::runtime

#endif
