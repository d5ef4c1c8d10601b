#include "runtime/exec/StreamOrder.h"

#include <algorithm>

namespace stagewright::runtime {

static void join(VectorClock &clock, const VectorClock &other) {
  for (std::size_t i = 0; i < clock.size(); ++i) {
    clock[i] = std::max(clock[i], other[i]);
  }
}

OrderedStream::~OrderedStream() {
  if (stream.handle) {
    api.destroy(stream);
  }
}

Result<void> OrderedStream::open(std::size_t ownNumber, std::size_t streams) {
  auto made = api.createStream();
  if (!made) {
    return made.takeError();
  }
  stream = *made;
  number = ownNumber;
  clock.assign(streams, 0);
  return {};
}

Result<OrderedEvent> OrderedStream::makeEvent() {
  auto made = api.createEvent();
  if (!made) {
    return made.takeError();
  }
  OrderedEvent event;
  event.handle = *made;
  event.clock.assign(clock.size(), 0);
  return event;
}

Result<void> OrderedStream::record(OrderedEvent &event) {
  event.stream = number;
  event.record = ++clock[number];
  std::ranges::copy(clock, event.clock.begin());
  return api.record(event.handle, stream);
}

Result<void> OrderedStream::wait(std::span<const OrderedEvent *const> events) {
  for (const OrderedEvent *event : events) {
    const bool isImplied = knows(*event) || std::ranges::any_of(events, [&](const OrderedEvent *other) {
                             return other != event && other->implies(*event);
                           });
    if (isImplied) {
      continue;
    }
    if (auto ok = api.wait(stream, event->handle); !ok) {
      return ok;
    }
    join(clock, event->clock);
  }
  return {};
}

Result<void> OrderedStream::wait(const OrderedEvent &event) {
  const OrderedEvent *const one = &event;
  return wait(std::span(&one, 1));
}

void OrderedStream::follow(const OrderedStream &other) {
  join(clock, other.clock);
}

} // namespace stagewright::runtime
