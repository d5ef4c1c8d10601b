// What a rank on a GPU has offloaded to pinned memory of the host, and its updates. Chunks move through
// windows of the device, on streams of their own, beside what `computing` does:
//
//   up        load 0 | load 1 |          load 2 |
//   compute           update 0 | update 1 |      update 2
//   down                        store 0 | store 1 |       store 2
//
// Weights that are gathered from there are CudaReplicas' business.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDAOFFLOAD_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDAOFFLOAD_H

#include "runtime/exec/Executor.h"
#include "runtime/exec/StreamOrder.h"

#include <vector>

namespace stagewright::runtime {

class CudaOffload {
public:
  static constexpr std::size_t kStreams = 2;

  /// `computing`: the stream of the rank's programs. All of them outlive it.
  CudaOffload(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
              OrderedStream &computing);
  ~CudaOffload();
  CudaOffload(const CudaOffload &) = delete;

  /// `arenas`: of the rank. Its streams are `number` and those behind it of all `streams`; a plan that moves
  /// nothing has none. Errors: Environment.
  Result<void> open(const ArenaBases &arenas, std::size_t number, std::size_t streams);

  // On the thread of the rank, in the order of the program's points.

  /// A load stands behind the ends of stores that there have been, a store behind what `computing` has been
  /// given.
  Result<void> begin(unsigned exchange);
  /// `computing` waits for a load.
  Result<void> end(unsigned exchange);
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
    std::vector<Piece> pieces; ///< none: another replica's, or no exchange of this kind
    OrderedEvent made;         ///< of a store: the window has been written
    OrderedEvent done;
  };
  Result<void> copy(const Exchange &exchange, const OrderedStream &stream);
  int rank() const { return environment.communicator.rank(); }

  const RankEnvironment &environment;
  const executable::RankPlan &plan;
  cuda::Api &api;
  OrderedStream &computing;
  OrderedStream up, down;
  std::vector<Exchange> exchanges;          ///< as in the file
  const OrderedEvent *lastStore = nullptr;  ///< that this program has begun
  const OrderedEvent *endedStore = nullptr; ///< the last one; the next load stands behind it
};

} // namespace stagewright::runtime

#endif
