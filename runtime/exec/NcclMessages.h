// Messages between ranks that have a GPU each, by NCCL's point-to-point calls. Each channel is a communicator
// of two ranks with a stream of its own, so that a receive that waits for its sender holds up nothing else; a
// group of ranks is one communicator, and what is posted in it one group call.
//
//   compute         F0 |      F1 |       ...
//   lane 0 -> 1        send      send                 forward, to rank 1
//   lane 1 -> 0              receive ...              backward, from rank 1
//
// The host waits for no other rank between connect() and finish(), which looks for what has gone wrong while
// it waits: an error that NCCL notes, one of another rank's, an interrupt. NCCL does not check sizes: the
// plan's proof does.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_NCCLMESSAGES_H
#define STAGEWRIGHT_RUNTIME_EXEC_NCCLMESSAGES_H

#include "runtime/exec/DeviceMessages.h"
#include "runtime/exec/Interrupt.h"

#include <memory>
#include <utility>

namespace stagewright::runtime {

/// Whether each rank has a GPU of its own; called by all. Error: Environment, two have the same one.
Result<void> checkOwnGpus(cuda::Api &api, Communicator &communicator);

class NcclMessages final : public DeviceMessages {
public:
  /// `communicator` carries what NCCL needs to begin with. The streams of channels have the numbers from
  /// `firstLane` on. `interrupt` may be null.
  NcclMessages(cuda::Api &api, Communicator &communicator, std::size_t firstLane,
               const InterruptFlag *interrupt)
      : DeviceMessages(api, communicator), firstLane(firstLane), interrupt(interrupt) {}
  /// Behind an error it ends the talk without waiting for anybody.
  ~NcclMessages() override;

  Result<void> connect(std::span<const Channel> channels, std::span<const RankGroup> groups) override;
  Result<void> post(std::size_t number, bool send, int peer, int tag, void *data, std::size_t bytes,
                    const OrderedEvent *ready) override;
  Result<void> beginGroup(const RankGroup &group) override;
  Result<void> endGroup() override;
  Result<const OrderedEvent *> arrival(std::size_t number) override;
  Result<void> receiveBehind(std::span<const OrderedEvent *const> awaited) override;
  Result<void> finish(const OrderedStream &awaited, std::span<DeviceMessages *const> others) override;
  Result<void> failure() override;
  void abort() override;
  void follow(const OrderedStream &other) override;

private:
  struct Lane {
    Lane(cuda::Api &api, const Channel &channel) : channel(channel), stream(api) {}
    Channel channel;
    cuda::Connection connection;
    OrderedStream stream;
  };
  struct Group {
    RankGroup ranks;
    cuda::Connection connection;
  };

  void reserve(std::size_t count) override;
  Result<cuda::Connection> meet(const RankGroup &ranks, int mostBlocks);
  Result<void> introduce(cuda::Connection connection, const RankGroup &ranks, cuda::Stream on);
  void leave(bool aborts);
  Result<void> noted(Result<void> result);

  const std::size_t firstLane;
  const InterruptFlag *const interrupt;
  std::vector<std::unique_ptr<Lane>> lanes;
  std::vector<Group> groups;
  const Group *group = nullptr; ///< that is being posted
  std::vector<cuda::Exchanged> batch;
  std::vector<const OrderedEvent *> batchBehind;
  std::size_t batchFirst = 0;               ///< number of its first message, whose event is that of all
  std::vector<std::size_t> arrivals;        ///< [messages] whose event is that of the arrival
  std::vector<const OrderedEvent *> behind; ///< of what is received
  bool hasFailed = false;
};

} // namespace stagewright::runtime

#endif
