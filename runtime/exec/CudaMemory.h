// The arenas of one rank on a GPU: what is offloaded lies in pinned memory of the host.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDAMEMORY_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDAMEMORY_H

#include "kernels/cuda/Api.h"
#include "runtime/exec/PinnedMemory.h"
#include "runtime/exec/RankMemory.h"
#include "runtime/executable/Executable.h"

#include <vector>

namespace stagewright::runtime {

/// Whether the host has a copy of such an arena, for what reads and writes weights, states and scalars.
bool hasCopyOnHost(executable::ArenaClass kind);

/// One allocation for each arena, as large as planned, in whole pages. Outlived by its table.
class CudaMemory {
public:
  explicit CudaMemory(cuda::Api &api) : api(api) {}
  ~CudaMemory();
  CudaMemory(const CudaMemory &) = delete;

  /// Shards as often as the rank has them (RankMemory::copiesOf). With `pinsWeights` the host's copies of
  /// weights are pinned. Errors: Environment, there is not enough memory.
  Result<void> allocate(const Executable &executable, const Mesh &mesh, int rank, bool pinsWeights);
  /// Zeros, but for the workspace, and waits for them.
  Result<void> clear(cuda::Stream stream);

  /// Where the rank's work finds them.
  const ArenaBases &addresses() const { return bases; }
  /// Pinned memory of the host that has an arena, or its copy; null: there is none.
  const ArenaBases &pinned() const { return onHost; }
  std::uint64_t bytes() const { return total; } ///< on the device, in whole pages

private:
  Result<std::byte *> allocatePinned(std::uint64_t bytes);

  cuda::Api &api;
  ArenaBases bases, onHost;
  std::vector<PinnedMemory> pins;
  std::vector<std::uint64_t> cleared; ///< bytes of each arena that begin as zeros
  std::uint64_t total = 0;
};

} // namespace stagewright::runtime

#endif
