#include "runtime/exec/DeviceMessages.h"

namespace stagewright::runtime {

/// On the receiver's stream.
static Result<void> copyMessage(const DeviceMessage &to, const DeviceMessage &from) {
  if (to.bytes != from.bytes) {
    return bugError("a message between devices", std::to_string(from.bytes) + " bytes are sent, " +
                                                     std::to_string(to.bytes) + " expected");
  }
  for (const cuda::Event event : {to.ready, from.ready}) {
    if (event.handle) {
      if (auto ok = to.api->wait(to.stream, event); !ok) {
        return ok;
      }
    }
  }
  auto ok = to.api->copy(to.data, from.data, to.bytes, to.stream);
  return ok ? to.api->record(to.arrived, to.stream) : std::move(ok);
}

void moveDeviceMessage(void *to, const void *from, std::size_t) {
  auto &received = *static_cast<DeviceMessage *>(to);
  // The sender waits for this message, and its thread looks at it no earlier.
  auto &sent = *static_cast<DeviceMessage *>(const_cast<void *>(from));
  if (auto ok = copyMessage(received, sent); !ok) {
    received.error = sent.error = ok.takeError();
  }
  sent.arrived = received.arrived;
}

DeviceMessages::~DeviceMessages() {
  for (const cuda::Event event : events) {
    api.destroy(event);
  }
  if (stream.handle) {
    api.destroy(stream);
  }
}

Result<void> DeviceMessages::open(std::size_t count) {
  auto made = api.createStream();
  if (!made) {
    return made.takeError();
  }
  stream = *made;
  messages.resize(count);
  requests.resize(count);
  while (events.size() < count) {
    auto event = api.createEvent();
    if (!event) {
      return event.takeError();
    }
    events.push_back(*event);
  }
  return {};
}

Result<void> DeviceMessages::post(std::size_t number, bool send, int peer, int tag, void *data,
                                  std::size_t bytes, cuda::Event ready) {
  DeviceMessage &message = messages[number];
  message = {data, bytes, ready, send ? cuda::Event() : events[number], &api, stream, std::nullopt};
  auto request = send ? communicator.postSend(peer, tag, &message, sizeof message)
                      : communicator.postReceive(peer, tag, &message, sizeof message);
  if (!request) {
    return request.takeError();
  }
  requests[number] = *request;
  return {};
}

Result<void> DeviceMessages::wait(std::size_t number, cuda::Stream waiting) {
  if (auto ok = communicator.wait(requests[number]); !ok) {
    return ok;
  }
  const DeviceMessage &message = messages[number];
  return message.error ? Result<void>(*message.error) : api.wait(waiting, message.arrived);
}

} // namespace stagewright::runtime
