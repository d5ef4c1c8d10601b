#include "runtime/exec/DeviceMessages.h"

#include "runtime/exec/DeviceCopies.h"
#include "runtime/exec/NcclMessages.h"

namespace stagewright::runtime {

DeviceMessages::~DeviceMessages() {
  for (const OrderedEvent &event : events) {
    api.destroy(event.handle);
  }
}

Result<void> DeviceMessages::open(std::size_t count, std::size_t number, std::size_t streams) {
  if (auto ok = stream.open(number, streams); !ok) {
    return ok;
  }
  reserve(count);
  while (events.size() < count) {
    auto event = stream.makeEvent();
    if (!event) {
      return event.takeError();
    }
    events.push_back(std::move(*event));
  }
  return {};
}

std::unique_ptr<DeviceMessages> makeDeviceMessages(cuda::Api &api, Communicator &communicator, bool usesNccl,
                                                   std::size_t firstLane, const InterruptFlag *interrupt) {
  if (usesNccl) {
    return std::make_unique<NcclMessages>(api, communicator, firstLane, interrupt);
  }
  return std::make_unique<DeviceCopies>(api, communicator);
}

void DeviceMessages::follow(const OrderedStream &other) {
  const std::lock_guard lock(mutex);
  stream.follow(other);
}

} // namespace stagewright::runtime
