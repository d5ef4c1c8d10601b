// The arenas of one rank on a GPU.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDAMEMORY_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDAMEMORY_H

#include "kernels/cuda/Api.h"
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

  /// Shards as often as the rank has them (RankMemory::copiesOf). Errors: Environment, there is not enough
  /// memory on the device.
  Result<void> allocate(const Executable &executable, const Mesh &mesh, int rank);
  /// Zeros, but for the workspace, and waits for them.
  Result<void> clear(cuda::Stream stream);

  const ArenaBases &addresses() const { return bases; }
  std::uint64_t bytes() const { return total; } ///< in whole pages

private:
  cuda::Api &api;
  ArenaBases bases;
  std::vector<std::uint64_t> cleared; ///< bytes of each arena that begin as zeros
  std::uint64_t total = 0;
};

} // namespace stagewright::runtime

#endif
