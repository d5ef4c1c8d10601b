// Streams and events that know what they stand behind, so that a wait which others imply is not made. A
// vector clock (Fidge 1988, Mattern 1989) counts for every stream of all ranks how many of its records are
// known to have been reached:
//
//   stream 0   record a {1,0}                            wait b {1,1}   wait a, wait b: implied
//   stream 1                  wait a {1,0}   record b {1,1}
#ifndef STAGEWRIGHT_RUNTIME_EXEC_STREAMORDER_H
#define STAGEWRIGHT_RUNTIME_EXEC_STREAMORDER_H

#include "kernels/cuda/Api.h"

#include <span>
#include <vector>

namespace stagewright::runtime {

/// Records of every stream of all ranks.
using VectorClock = std::vector<std::uint64_t>;

struct OrderedEvent {
  cuda::Event handle;
  std::size_t stream = 0;   ///< that recorded it last
  std::uint64_t record = 0; ///< number of that record on the stream; 0: none
  VectorClock clock;        ///< what it stands behind

  bool implies(const OrderedEvent &other) const { return record > 0 && clock[other.stream] >= other.record; }
};

/// Used by one thread at a time.
class OrderedStream {
public:
  explicit OrderedStream(cuda::Api &api) : api(api) {}
  ~OrderedStream();
  OrderedStream(const OrderedStream &) = delete;

  /// `number`: of all `streams` of all ranks.
  Result<void> open(std::size_t number, std::size_t streams);
  cuda::Stream handle() const { return stream; }

  Result<void> record(OrderedEvent &event);
  /// What the stream is given from now on waits for these events. Only waits are made that neither the
  /// stream's past nor another one of them implies; events that nobody has recorded are passed over.
  Result<void> wait(std::span<const OrderedEvent *const> events);
  Result<void> wait(const OrderedEvent &event);
  /// The host has waited for `other`: all that it stands behind has happened.
  void follow(const OrderedStream &other);
  /// An event for this and other streams.
  Result<OrderedEvent> makeEvent();

private:
  bool knows(const OrderedEvent &event) const {
    return event.record == 0 || clock[event.stream] >= event.record;
  }
  cuda::Api &api;
  cuda::Stream stream;
  std::size_t number = 0;
  VectorClock clock;
};

} // namespace stagewright::runtime

#endif
