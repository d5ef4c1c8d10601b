// The talk between the replicas of a pipeline rank and its parameter servers (Li et al., "Scaling Distributed
// Machine Learning with the Parameter Server", OSDI 2014). A replica's step t pushes its gradients and takes
// the weights of update t - staleness: it is never more than that behind, and always as much, so that the
// bits do not depend on who is fast.
//
//   staleness 1   replica   step 1: push 1        | step 2: push 2, take 1 | step 3: push 3, take 2
//                 server            sum, update 1 |         sum, update 2  |
#ifndef STAGEWRIGHT_RUNTIME_EXEC_SERVERLINK_H
#define STAGEWRIGHT_RUNTIME_EXEC_SERVERLINK_H

#include "runtime/device/HostDevice.h"
#include "runtime/exec/MeshGroups.h"
#include "runtime/exec/Outbox.h"
#include "runtime/exec/TaskPlan.h"
#include "runtime/executable/ServerRanks.h"

#include <memory>
#include <optional>
#include <vector>

namespace stagewright::runtime {

/// Of one rank, on its thread. Errors: those of the communicator.
class ServerLink {
public:
  /// Null: the job has no servers. `arenas` and `communicator` outlive it. Error: Environment, memory.
  static Result<std::unique_ptr<ServerLink>> create(const Executable &executable, const Mesh &mesh,
                                                    const ArenaBases &arenas, HostDevice &device,
                                                    Communicator &communicator);
  ServerLink(const Executable &executable, const Mesh &mesh, const ArenaBases &arenas,
             Communicator &communicator);
  virtual ~ServerLink() = default;

  /// REDUCE: gradient sums of the stage go from all replicas to the servers that have them, which add them up
  /// in the order of replicas; on replicas they become zeros.
  virtual Result<void> reduce(int stage) = 0;
  /// ALL_GATHER of a step: servers learn the loss, by which a run ends.
  virtual Result<void> shareLoss() = 0;
  /// GATHER: weights of the stage from the servers, if it is time.
  virtual Result<void> gather(int stage) = 0;
  /// And the norm of the gradients.
  virtual Result<void> endStep() = 0;

  /// Updates that the replica has not taken: it runs GATHER, and what follows from it, once for each, between
  /// calls of beginUpdate() and endUpdate(). Zero on a server.
  virtual std::uint64_t missing() const = 0;
  virtual std::uint64_t beginUpdate() = 0; ///< its number, from 1
  virtual Result<void> endUpdate() = 0;
  /// Returns when all that this rank has sent has been taken.
  Result<void> flush() { return outbox->flush(); }

  /// A bound of the messages that are under way on one channel.
  static std::size_t messagesOf(const Executable &executable);

protected:
  struct Piece {
    int stage, server;
    std::byte *data;
    std::size_t bytes;
  };
  /// `stepBytes`: what the rank sends in a step.
  virtual Result<void> open(HostDevice &device, std::size_t stepBytes) = 0;
  Result<void> makeOutbox(HostDevice &device, std::size_t stepBytes, std::size_t scratch,
                          std::size_t messages);
  /// Behind it the outbox settles.
  Result<void> sendToAll(const RankGroup &receivers, int tag, const Piece &piece);
  Result<void> receive(int peer, int tag, std::byte *data, std::size_t bytes);
  Result<void> receiveAll(std::span<const Request> requests);

  Communicator &communicator;
  const RankGroup replicas, servers;
  const int own; ///< replica, or server
  const int staleness;
  std::vector<Piece> gradients, weights;
  Piece loss{}, norm{};
  Arena room; ///< of the outbox, and behind it a server's scratch
  std::byte *scratch = nullptr;
  std::optional<Outbox> outbox;
};

} // namespace stagewright::runtime

#endif
