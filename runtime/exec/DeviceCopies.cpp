#include "runtime/exec/DeviceCopies.h"

namespace stagewright::runtime {

/// On the receiver's stream. Called by the thread of either rank.
Result<void> DeviceCopies::copy(const DeviceCopy &to, const DeviceCopy &from) {
  if (to.bytes != from.bytes) {
    return bugError("a message between devices", std::to_string(from.bytes) + " bytes are sent, " +
                                                     std::to_string(to.bytes) + " expected");
  }
  const std::lock_guard lock(mutex);
  const OrderedEvent *events[2];
  std::size_t count = 0;
  for (const OrderedEvent *ready : {to.ready, from.ready}) {
    if (ready) {
      events[count++] = ready;
    }
  }
  auto ok = stream.wait(std::span(events, count));
  ok = ok ? api.copy(to.data, from.data, to.bytes, stream.handle()) : std::move(ok);
  return ok ? stream.record(*to.arrived) : std::move(ok);
}

void moveDeviceCopy(void *to, const void *from, std::size_t) {
  auto &received = *static_cast<DeviceCopy *>(to);
  // The sender waits for this message, and its thread looks at it no earlier.
  auto &sent = *static_cast<DeviceCopy *>(const_cast<void *>(from));
  if (auto ok = received.owner->copy(received, sent); !ok) {
    received.error = sent.error = ok.takeError();
  }
  sent.arrived = received.arrived;
}

void DeviceCopies::reserve(std::size_t count) {
  messages.resize(count);
  requests.resize(count);
}

Result<void> DeviceCopies::post(std::size_t number, bool send, int peer, int tag, void *data,
                                std::size_t bytes, const OrderedEvent *ready) {
  DeviceCopy &message = messages[number];
  message = {data, bytes, ready, send ? nullptr : &events[number], this, std::nullopt};
  auto request = send ? communicator.postSend(peer, tag, &message, sizeof message)
                      : communicator.postReceive(peer, tag, &message, sizeof message);
  if (!request) {
    return request.takeError();
  }
  requests[number] = *request;
  return {};
}

Result<const OrderedEvent *> DeviceCopies::arrival(std::size_t number) {
  if (auto ok = communicator.wait(requests[number]); !ok) {
    return ok.takeError();
  }
  const DeviceCopy &message = messages[number];
  if (message.error) {
    return *message.error;
  }
  return message.arrived;
}

Result<void> DeviceCopies::receiveBehind(std::span<const OrderedEvent *const> awaited) {
  const std::lock_guard lock(mutex);
  return stream.wait(awaited);
}

} // namespace stagewright::runtime
