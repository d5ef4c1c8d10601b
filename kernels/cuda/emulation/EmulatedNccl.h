// What NCCL does, on the emulated GPU: an exchange is a piece of work that is under way from when its stream
// has come to it until all its messages have met their other sides, which are under way, too.
#ifndef STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATEDNCCL_H
#define STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATEDNCCL_H

#include "kernels/cuda/Api.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace stagewright::cuda::emulation {

class EmulatedNccl {
public:
  /// One rank's end.
  struct Communicator;
  struct Meeting;
  struct Exchange {
    std::shared_ptr<Meeting> meeting;
    int rank = 0;
    std::vector<Exchanged> messages;
    std::size_t open = 0; ///< messages that have not moved
    bool isUnderWay = false;
  };

  EmulatedNccl();
  ~EmulatedNccl();

  ConnectionId id();
  /// Waits for the others; `lock` is that of the GPU.
  Result<Communicator *> connect(const ConnectionId &id, int rank, int ranks,
                                 std::unique_lock<std::mutex> &lock, std::condition_variable &changed);
  void leave(Communicator *communicator);
  /// The same, and what is under way ends as it is.
  void abort(Communicator *communicator);
  std::shared_ptr<Exchange> begin(Communicator *communicator, std::span<const Exchanged> messages);
  /// Whether some of its exchanges have not ended: NCCL's end would wait for them.
  bool isUnderWay(const Communicator &communicator) const;

  /// Moves what can be moved; whether all of the exchange has. Error: Bug, two sizes do not agree.
  Result<bool> advance(Exchange &exchange);

private:
  std::uint64_t ids = 0;
  std::map<std::uint64_t, std::shared_ptr<Meeting>> meetings;
};

} // namespace stagewright::cuda::emulation

#endif
