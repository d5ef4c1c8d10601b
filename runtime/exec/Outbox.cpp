#include "runtime/exec/Outbox.h"

#include "catalogue/Catalogue.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

Outbox::Outbox(Communicator &communicator, std::byte *memory, std::size_t stepBytes, int steps,
               std::size_t messages)
    : communicator(communicator), memory(memory), stepBytes(stepBytes), steps(steps),
      sent(static_cast<std::size_t>(std::max(steps, 1))) {
  for (std::vector<Request> &requests : sent) {
    requests.reserve(messages);
  }
}

Result<void> Outbox::waitFor(std::vector<Request> &requests) {
  for (const Request request : requests) {
    if (auto ok = communicator.wait(request); !ok) {
      return ok;
    }
  }
  requests.clear();
  return {};
}

Result<const std::byte *> Outbox::keep(const void *data, std::size_t bytes) {
  if (steps == 0) {
    return static_cast<const std::byte *>(data);
  }
  if (isNew) {
    if (auto ok = waitFor(current()); !ok) {
      return ok.takeError();
    }
    isNew = false;
    used = 0;
  }
  std::byte *copy = memory + step % sent.size() * stepBytes + used;
  std::memcpy(copy, data, bytes);
  used += catalogue::aligned(bytes);
  return copy;
}

Result<void> Outbox::send(int peer, int tag, const std::byte *kept, std::size_t bytes) {
  auto request = communicator.postSend(peer, tag, kept, bytes);
  if (!request) {
    return request.takeError();
  }
  current().push_back(*request);
  return {};
}

Result<void> Outbox::settle() {
  return steps == 0 ? waitFor(current()) : Result<void>();
}

void Outbox::endStep() {
  ++step;
  isNew = true;
}

Result<void> Outbox::flush() {
  for (std::vector<Request> &requests : sent) {
    if (auto ok = waitFor(requests); !ok) {
      return ok;
    }
  }
  return {};
}

} // namespace stagewright::runtime
