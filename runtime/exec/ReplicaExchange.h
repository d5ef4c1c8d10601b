// An exchange between the replicas of a rank that runs beside the commands of a program.
//
//   sums       replica 0 (has the piece)   begin: posts receives   ... commands ...   end: waits, adds r0 +
//   r1 + r2
//              replica 1, 2                begin: post sends       ... commands ...   end: wait, zeros
//              (of one micro-batch: adds the sum to what there is, and leaves no zeros)
//              (in 16 bits or compressed: all convert their part when it begins, also that of their own
//              piece)
//   weights    replica 0 (has the piece)   begin: posts sends      ... commands ...   end: waits
//              replica 1, 2                begin: post receives    ... commands ...   end: wait
//              of a file                   begin: reads            ... commands ...   end: sends, waits
//
// All replicas begin their exchanges in one order, that of the program, so that messages meet: what has been
// read is sent before anything that begins later.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_REPLICAEXCHANGE_H
#define STAGEWRIGHT_RUNTIME_EXEC_REPLICAEXCHANGE_H

#include "runtime/comm/Communicator.h"
#include "runtime/exec/ProgramExchange.h"
#include "runtime/exec/RankMemory.h"
#include "runtime/exec/WireFormat.h"

#include <cstdint>
#include <vector>

namespace stagewright::runtime {

class ReplicaExchange : public ProgramExchange {
public:
  /// Exchanges of a rank that have begun to read from files, in order, and have not sent it yet.
  using Unsent = std::vector<ReplicaExchange *>;

  /// Of a proved file. `wire`: in what gradients travel; null: fp32. `scale`: the factor on all of them in a
  /// step; null: 1. `replicas` are those of the caller's pipeline rank, of weights those that divide them:
  /// `group` in the file. A replica that is alone has the shards of all.
  ReplicaExchange(const executable::Exchange &exchange, const executable::RankPlan &plan,
                  const RankMemory &memory, Communicator &communicator, RankGroup replicas, int group,
                  Unsent &unsent, WireFormat *wire, const float *scale);

  /// A bound of the messages that are under way on one channel.
  static std::size_t messagesOf(const executable::RankPlan &plan, int group);

private:
  Result<void> start() override;
  Result<void> complete() override;

  struct Piece {
    int position = 0; ///< of the replica that has it
    std::byte *whole = nullptr;
    std::byte *own = nullptr; ///< of the owner: what the others contribute, or its part of the weights
    std::byte *sum =
        nullptr; ///< of the owner, where it is added to what there is; else the sum replaces `whole`
    std::size_t bytes = 0;
    Place file; ///< of the owner of weights in a file: they are sent when they have been read
    FileStore::Operation operation = 0;
    std::byte *sent = nullptr; ///< of gradients that are converted before they travel: where to
    float *residual = nullptr; ///< of compression: what has not been sent of them
  };
  void pack(const Piece &piece) const;
  Result<void> postSums(const Piece &piece);
  Result<void> postWeights(Piece &piece);
  Result<void> sendUnsent();
  Result<void> sendWeights(const Piece &piece);
  Result<void> track(Result<Request> posted);
  std::byte *contribution(const Piece &piece, int position) const;
  std::size_t wireBytes(const Piece &piece) const {
    return wire ? wire->bytes(piece.bytes / sizeof(float)) : piece.bytes;
  }
  void add(const Piece &piece);
  void addPacked(const Piece &piece) const;

  Communicator &communicator;
  const RankGroup replicas;
  const int own; ///< position among the replicas
  std::vector<Piece> pieces;
  std::vector<Request> requests;
  std::vector<const std::byte *> terms; ///< of a sum, by position
  Unsent &unsent;
  WireFormat *const wire; ///< of sums; null: as they are
  const float *const scale;
  bool reads = false; ///< a piece of its own from a file
};

} // namespace stagewright::runtime

#endif
