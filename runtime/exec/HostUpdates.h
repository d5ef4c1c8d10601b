// Updates of what a rank on a GPU has offloaded, on the cores of the host, where states lie already (as
// DeepSpeed's CPU optimizers). Chunks alternate between two places of pinned memory, so that copies and
// updates overlap:
//
//   down    scalars, g0 | g1      | g2      | ...      gradients, which become zeros on the device
//   host                | update0 | update1 | ...      in place: states, and the host's copy of the weights
//   up                            | w0      | w1 ...   weights that are on the device
//
// Kernels are the host's own. Of the rules that they run here the arithmetic is the device's bit by bit:
// IEEE operations in fp32 and scalars in fp64, in the same order, with subnormal numbers. Lamb's sums are
// added up in another order: it is updated on the device (CudaOffload.h).
#ifndef STAGEWRIGHT_RUNTIME_EXEC_HOSTUPDATES_H
#define STAGEWRIGHT_RUNTIME_EXEC_HOSTUPDATES_H

#include "kernels/cuda/Api.h"
#include "runtime/exec/Executor.h"
#include "runtime/exec/PinnedMemory.h"
#include "runtime/exec/StreamOrder.h"

#include <array>
#include <map>
#include <memory>
#include <vector>

namespace stagewright::runtime {

/// Whether a command works on windows, into which what is offloaded is loaded.
bool usesWindows(const executable::Command &command, const executable::RankPlan &plan);
/// Whether the host runs it instead: it has the same bits, and all states of the command.
bool runsOnHost(const Executable &executable, const executable::Command &command,
                const executable::RankPlan &plan);

class HostUpdates {
public:
  /// `computing`: the stream of the rank's programs; `down`, `up`: of copies. All of them outlive it.
  HostUpdates(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
              OrderedStream &computing, OrderedStream &down, OrderedStream &up);
  ~HostUpdates();
  HostUpdates(const HostUpdates &) = delete;

  /// `arenas`: of the rank; `copies`: of weights, pinned. Its stream is `number` of all `streams`. Errors:
  /// Environment.
  Result<void> open(const ArenaBases &arenas, const ArenaBases &copies, std::size_t number,
                    std::size_t streams);

  // On the thread of the rank, in the order of the program's commands. Allocates nothing.

  /// Runs a command: behind all that `computing` had been given in front of the first one
  /// of the program.
  Result<void> run(unsigned program, unsigned command);
  /// The end of a program: `computing` waits for its updates.
  Result<void> finish();
  /// The host has waited for `other`.
  void follow(const OrderedStream &other) { host.follow(other); }

private:
  /// One that a copy fills behind an update, and an update reads behind the copy.
  struct Place {
    std::byte *gradient = nullptr;
    OrderedEvent filled, used;
  };
  struct Copy {
    std::byte *to = nullptr, *from = nullptr;
    std::uint64_t bytes = 0;
  };
  struct Update {
    unsigned program = 0, command = 0;
    std::size_t place = 0;
    std::unique_ptr<kernels::PreparedKernel> kernel;
    std::vector<void *> operands;
    std::vector<cuda::Access> accesses;
    Copy gradient, weight; ///< down, and up; no bytes: the weight lies on the host
    TilePool *pool = nullptr;
  };
  using Homes = std::map<std::byte *, std::byte *>; ///< of what windows have

  Result<void> openEvents();
  Result<void> plan(const executable::Program &program, unsigned number, const ArenaBases &arenas,
                    const ArenaBases &copies);
  Result<void> prepare(const executable::Command &command, Update &update) const;
  Result<void> bind(const executable::Command &command, const Homes &homes, const ArenaBases &arenas,
                    const ArenaBases &copies, Update &update);
  std::byte *scalarAt(const executable::Operand &operand, std::byte *onDevice);
  Result<void> begin();
  static void runOnHost(void *update);
  int rank() const { return environment.communicator.rank(); }

  const Executable &file;
  const RankEnvironment &environment;
  const executable::RankPlan &rankPlan;
  cuda::Api &api;
  OrderedStream &computing;
  OrderedStream &down, &up;
  OrderedStream host;
  PinnedMemory staging;
  std::array<Place, 2> places;
  std::vector<Copy> scalars; ///< to pinned memory, once in a program
  std::vector<Update> updates;
  OrderedEvent made;     ///< of `computing`: what was given to it in front of the first update
  OrderedEvent uploaded; ///< of the last weights
  std::size_t last = 0;  ///< place of the last update
  bool underWay = false, uploads = false;
};

} // namespace stagewright::runtime

#endif
