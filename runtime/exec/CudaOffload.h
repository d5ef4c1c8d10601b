// What a rank on a GPU has offloaded to pinned memory of the host. Where the host has the states of a chunk
// and the rule's bits it updates it (HostUpdates.h); other chunks move through windows of the device, on
// streams of their own, beside what `computing` does:
//
//   up        load 0 | load 1 |          load 2 |
//   compute           update 0 | update 1 |      update 2
//   down                        store 0 | store 1 |       store 2
//
// Weights that are gathered from there are CudaReplicas' business.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDAOFFLOAD_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDAOFFLOAD_H

#include "runtime/exec/HostUpdates.h"

#include <optional>
#include <vector>

namespace stagewright::runtime {

class CudaOffload {
public:
  static constexpr std::size_t kStreams = 3; // or fewer

  /// `computing`: the stream of the rank's programs. All of them outlive it.
  CudaOffload(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
              OrderedStream &computing);
  ~CudaOffload();
  CudaOffload(const CudaOffload &) = delete;

  /// Whether the host runs commands.
  bool updatesOnHost() const { return updates.has_value(); }
  /// Whether an exchange loads or stores what a command of the device uses.
  bool moves(unsigned exchange) const { return isMoved[exchange]; }

  /// `arenas`: of the rank; `copies`: of weights, pinned, for updates on the host. Its streams are `number`
  /// and those behind it of all `streams`; a plan that moves nothing has none. Errors: Environment.
  Result<void> open(const ArenaBases &arenas, const ArenaBases &copies, std::size_t number,
                    std::size_t streams);

  // On the thread of the rank, in the order of the program's points.

  // begin() and end() of exchanges that move something.

  /// A load stands behind the ends of stores that there have been, a store behind what `computing` has been
  /// given.
  Result<void> begin(unsigned exchange);
  /// `computing` waits for a load.
  Result<void> end(unsigned exchange);
  /// Runs a command on the host.
  Result<void> update(unsigned program, unsigned command) { return updates->run(program, command); }
  /// The end of a program: `computing` waits for all that has been begun.
  Result<void> finish();
  /// The host has waited for `other`.
  void follow(const OrderedStream &other);

private:
  struct Piece {
    std::byte *window = nullptr, *home = nullptr;
    std::uint64_t bytes = 0;
  };
  struct Exchange {
    bool loads = false;
    std::vector<Piece> pieces; ///< none: it is not moved
    OrderedEvent made;         ///< of a store: the window has been written
    OrderedEvent done;
  };
  void findMoved(const executable::Program &program);
  Result<void> openExchanges(const ArenaBases &arenas);
  Result<void> copy(const Exchange &exchange, const OrderedStream &stream);
  int rank() const { return environment.communicator.rank(); }

  const Executable &file;
  const RankEnvironment &environment;
  const executable::RankPlan &plan;
  cuda::Api &api;
  OrderedStream &computing;
  OrderedStream up, down;
  std::optional<HostUpdates> updates;
  std::vector<bool> isMoved;                ///< as in the file
  std::vector<Exchange> exchanges;          ///< as in the file
  const OrderedEvent *lastStore = nullptr;  ///< that this program has begun
  const OrderedEvent *endedStore = nullptr; ///< the last one; the next load stands behind it
};

} // namespace stagewright::runtime

#endif
