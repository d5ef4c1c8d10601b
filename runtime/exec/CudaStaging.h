// Pinned memory of the host through which a rank's inputs, scalars and results go to and from a GPU.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDASTAGING_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDASTAGING_H

#include "runtime/exec/Executor.h"
#include "runtime/exec/PinnedMemory.h"

#include <vector>

namespace stagewright::runtime {

class CudaStaging {
public:
  explicit CudaStaging(cuda::Api &api) : api(api), pinned(api) {}

  // Before allocate():

  /// Place for so many bytes: their offset.
  std::size_t add(std::size_t bytes);
  /// The cells that the host writes or reads.
  void addScalars(const executable::RankPlan &plan);
  /// A result of evaluation, in the order in which passes make them.
  void addOutput(const executable::OutputBinding &output, int microBatch);
  Result<void> allocate() { return pinned.allocate(bytes); }

  std::byte *at(std::size_t offset) const { return pinned.data() + offset; }

  // Scalars, in stream order. `onHost`, `onDevice`: the rank's arenas.

  Result<void> send(const ArenaBases &onHost, const ArenaBases &onDevice, cuda::Stream stream);
  Result<void> fetch(const ArenaBases &onDevice, cuda::Stream stream);
  /// When the stream has done that.
  void take(const ArenaBases &onHost) const;

  /// A pass begins whose results are wanted, or not.
  void beginPass(bool wantsOutputs) { next = wantsOutputs ? 0 : outputs.size(); }
  /// Results of a task, which lie in the workspace: before the next one.
  Result<void> fetchOutputs(const schedule::Task &task, const ArenaBases &onDevice, cuda::Stream stream);
  /// When the stream has done that.
  Result<void> handOut(OutputSink &sink) const;

private:
  struct Scalar {
    unsigned arena = 0;
    std::uint64_t offset = 0, bytes = 0;
    std::size_t place = 0;
    bool isShared = false; ///< a result that ranks share: it only comes back
  };
  struct Output {
    const executable::OutputBinding *binding = nullptr;
    int microBatch = 0;
    std::size_t place = 0;
  };

  cuda::Api &api;
  PinnedMemory pinned;
  std::size_t bytes = 0;
  std::vector<Scalar> scalars;
  std::vector<Output> outputs; ///< of a pass
  std::size_t next = 0;        ///< of them
};

} // namespace stagewright::runtime

#endif
