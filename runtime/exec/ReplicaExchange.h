// An exchange between the replicas of a rank that runs beside the commands of a program.
//
//   sums       replica 0 (has the piece)   begin: posts receives   ... commands ...   end: waits, adds r0 +
//   r1 + r2
//              replica 1, 2                begin: post sends       ... commands ...   end: wait, zeros
//   weights    replica 0 (has the piece)   begin: posts sends      ... commands ...   end: waits
//              replica 1, 2                begin: post receives    ... commands ...   end: wait
//
// All replicas begin their exchanges in one order, that of the program, so that messages meet.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_REPLICAEXCHANGE_H
#define STAGEWRIGHT_RUNTIME_EXEC_REPLICAEXCHANGE_H

#include "runtime/comm/Communicator.h"
#include "runtime/exec/TaskPlan.h"
#include "runtime/executable/Executable.h"

#include <cstdint>
#include <vector>

namespace stagewright::runtime {

class ReplicaExchange {
public:
  /// Of a proved file. `replicas` are those of the caller's pipeline rank. When it is alone it has the shards
  /// of all, one arena behind the other.
  ReplicaExchange(const executable::Exchange &exchange, const executable::RankPlan &plan,
                  const ArenaBases &arenas, Communicator &communicator, RankGroup replicas);

  /// Errors: those of the communicator. Neither allocates anything.
  Result<void> begin();
  /// Begins it where that has not happened.
  Result<void> end();
  /// Gathers weights, and adds up no gradients.
  bool isOfWeights() const { return gathers; }
  bool isUnderWay() const { return underWay; }

  std::uint64_t bytes() const { return total; }
  std::int64_t begunAt() const { return begun; }

  /// A bound of the messages that are under way on one channel.
  static std::size_t messagesOf(const executable::RankPlan &plan);

private:
  struct Piece {
    int position = 0; ///< of the replica that has it
    std::byte *whole = nullptr;
    std::byte *own = nullptr; ///< of the owner: what the others contribute, or its part of the weights
    std::size_t bytes = 0;
  };
  Result<void> postSums(const Piece &piece);
  Result<void> postWeights(const Piece &piece);
  Result<void> track(Result<Request> posted);
  std::byte *contribution(const Piece &piece, int position) const;
  void add(const Piece &piece) const;

  Communicator &communicator;
  const RankGroup replicas;
  const int own; ///< position among the replicas
  const bool gathers;
  std::vector<Piece> pieces;
  std::vector<Request> requests;
  std::uint64_t total = 0;
  std::int64_t begun = 0;
  bool underWay = false;
};

} // namespace stagewright::runtime

#endif
