// What the replicas of a rank on GPUs give each other: sums of gradients, parts of weights, partial sums and
// losses. It moves on a stream of its own, beside the commands of programs; bits are those of
// ReplicaExchange.h and Communicator::reduceScatter(): ((r0 + r1) + r2) + ...
//
//   sums     replica 0 (has the piece)  compute     W block 1 | W block 0         ...  REDUCE waits | NORM
//                                       collective             copy r1, copy r2, sum |
//            replica 1                  collective                         arrived, zeros |
//   weights  replica 0 (has the piece)  collective  copy from its shard |   F waits
//            replica 1                  collective  copy r0's shard |       F waits
//
// The thread of a rank waits for the threads of the others to post, never for the device.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDAREPLICAS_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDAREPLICAS_H

#include "kernels/cuda/Cuda.h"
#include "runtime/comm/MessageTags.h"
#include "runtime/exec/DeviceMessages.h"
#include "runtime/exec/Executor.h"

#include <memory>
#include <vector>

namespace stagewright::runtime {

class CudaReplicas {
public:
  /// `computing`: the stream of the rank's programs. All of them outlive it.
  CudaReplicas(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
               cuda::KernelCache &kernels, OrderedStream &computing);
  ~CudaReplicas();
  CudaReplicas(const CudaReplicas &) = delete;

  /// `arenas`: of the rank, on the device. Its stream is `number` of all `streams`. Errors: Environment,
  /// there is not enough memory on the device.
  Result<void> open(const ArenaBases &arenas, std::size_t number, std::size_t streams);

  /// Finds the other replicas: the first call of all ranks. Errors: those of DeviceMessages::connect().
  Result<void> connect();

  // On the thread of the rank; all replicas call them in the same order. What is begun stands behind all that
  // `computing` has been given, and what `computing` is given behind an end stands behind the exchange; sums
  // of a step (ExchangeKind::Reduce) only behind reduce().

  Result<void> begin(unsigned exchange);
  Result<void> end(unsigned exchange);
  /// REDUCE of a stage, or of ALL_GATHER's losses (-1): ends its exchanges, and adds up what has none. Losses
  /// are there behind finishStep().
  Result<void> reduce(int stage);
  Result<void> finishStep() { return computing.wait(ofSums.done); }
  /// What the task gives to other replicas; false: nothing.
  Result<bool> gather(schedule::TaskKind task, int stage);

  /// In front of a NORM or an UPDATE: the others have taken what it writes again.
  Result<void> finishSends(schedule::TaskKind task);
  /// Of all tasks: before the host writes there.
  Result<void> finishSends();
  DeviceMessages &talk() { return *messages; }
  /// The host has waited for `other`.
  void follow(const OrderedStream &other) { messages->follow(other); }

  std::uint64_t bytes() const { return scratchBytes; } ///< of device memory, in whole pages

private:
  struct Piece {
    int position = 0; ///< among the replicas, of the one that has it
    std::byte *whole = nullptr;
    std::byte *own = nullptr; ///< of that one: what the others contribute, or its part of the weights
    std::byte *sum = nullptr; ///< of that one: where it is added to what there is; null: in place
    std::uint64_t bytes = 0;
  };
  /// Messages [first, first + sends.size()) between replicas, posted one behind the other.
  struct Transfers {
    int tag = tags::kReplicasAwaited;
    RankGroup replicas;
    int own = 0; ///< position
    std::size_t first = 0;
    std::vector<bool> sends; ///< in the order in which they are posted
    OrderedEvent made;       ///< of `computing`: what is sent has been made, what is received may be written
    OrderedEvent done;       ///< of the own stream
  };
  struct Exchange : Transfers {
    executable::ExchangeKind kind{};
    int stage = 0;
    std::vector<Piece> pieces;
    bool isUnderWay = false;
  };
  struct Gather : Transfers {
    schedule::TaskKind task{};
    int stage = 0;
    std::vector<Piece> pieces;
  };
  /// Added up in chunks, one behind the other.
  struct Sum {
    int stage = 0;
    int position = -1; ///< of the replica that gets it, the others zeros; -1: all get it
    std::byte *data = nullptr;
    std::uint64_t bytes = 0;
    bool isDouble = false, isMean = false;
  };

  void planExchange(const executable::Exchange &exchange, const ArenaBases &arenas);
  void planGathers(const ArenaBases &arenas);
  void planSums(const ArenaBases &arenas);
  Result<void> openTransfers(Transfers &transfers);
  std::size_t messagesOf(const std::vector<Piece> &pieces, const Transfers &transfers) const;

  Result<void> postTo(Transfers &transfers, bool send, int position, std::byte *data, std::uint64_t bytes,
                      const OrderedEvent *ready);
  Result<void> postContributions(Exchange &exchange);
  Result<void> postWeights(Exchange &exchange);
  Result<void> copyOwnWeights(Exchange &exchange);
  /// Adds the arrivals of sends, of receives to `awaited`.
  Result<void> await(const Transfers &transfers, bool sends, bool receives);
  void keepSends(const Transfers &transfers, std::vector<const OrderedEvent *> &kept);
  Result<void> addUp(Exchange &exchange);
  Result<void> addUp(const Sum &sum);
  Result<void> launchSum(const OrderedStream &stream, const Transfers &group, std::byte *own,
                         const std::byte *others, std::byte *sum, std::uint64_t bytes, bool isDouble,
                         bool isMean);
  bool isAlone(const Transfers &transfers) const { return transfers.replicas.size == 1; }
  int rank() const { return environment.communicator.rank(); }

  const Executable &file;
  const RankEnvironment &environment;
  const executable::RankPlan &plan;
  cuda::Api &api;
  cuda::KernelCache &kernels;
  OrderedStream &computing;
  std::unique_ptr<DeviceMessages> messages;
  std::vector<Exchange> exchanges; ///< as in the file
  std::vector<Gather> gathers;
  std::vector<Sum> sums;
  Transfers ofSums; ///< a chunk's
  std::byte *scratch = nullptr;
  std::uint64_t chunkBytes = 0, scratchBytes = 0;
  std::size_t count = 0, posted = 0;         ///< messages: in all, and of the transfers that are being posted
  std::vector<const OrderedEvent *> awaited; ///< of one wait
  /// [messages] where sends arrive that nobody has waited for: those that NORM waits for, and UPDATE.
  std::vector<const OrderedEvent *> untilNorm, untilUpdate;
};

} // namespace stagewright::runtime

#endif
