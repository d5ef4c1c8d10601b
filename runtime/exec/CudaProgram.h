// A program of the .stage file on a GPU: its kernels, prepared, and for every part of it, which exchanges
// between replicas cut, and every tuple of slots that it runs on a graph of all launches.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDAPROGRAM_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDAPROGRAM_H

#include "runtime/exec/CudaCalls.h"
#include "runtime/exec/GroupKernels.h"
#include "runtime/exec/TaskPlan.h"

#include <map>
#include <memory>
#include <vector>

namespace stagewright::runtime {

class CudaProgram {
public:
  explicit CudaProgram(cuda::Api &api) : api(api), scratch(api) {}
  ~CudaProgram();
  CudaProgram(const CudaProgram &) = delete;

  /// Once. The commands that the rank with part `updater` of what is divided runs. Errors: User, a kernel
  /// that CUDA does not have.
  Result<void> prepare(const Executable &executable, const executable::RankPlan &plan, int updater,
                       const executable::Program &program, const ArenaBases &arenas,
                       cuda::KernelCache &kernels);

  /// Gives the calls to the stream as they are: what libraries set up when they are first used cannot be
  /// captured.
  Result<void> enqueue(const std::uint64_t *slotOffsets, cuda::Stream stream) const {
    return enqueue(Part{0, static_cast<unsigned>(calls.size())}, slotOffsets, stream);
  }
  /// Commands [begin, end) of the file's.
  struct Part {
    unsigned begin = 0, end = 0;
  };
  /// A command that is no part of graphs: one that the ranks of a group run together, or an update on the
  /// host.
  struct Apart {
    unsigned command = 0;
    std::byte *x = nullptr, *y = nullptr; ///< in the first slot; null: an update
    std::uint32_t xSlot = 0, ySlot = 0;   ///< TaskPlan::slotsOf
    GroupCall call;
  };
  const std::vector<Apart> &apart() const { return commandsApart; } ///< ascending
  unsigned commands() const { return static_cast<unsigned>(firstCall.size()) - 1; }
  /// Captures the graph for the slots of a micro-batch (TaskPlan::slotsOf) where there is none for them yet.
  Result<void> capture(Part part, const std::uint64_t *slotOffsets, cuda::Stream stream);
  /// Gives it to the stream. Error: Bug, these slots have not been captured.
  Result<void> launch(Part part, const std::uint64_t *slotOffsets, cuda::Stream stream);

  std::size_t graphs() const { return captured.size(); }
  std::size_t scratchBytes() const { return scratch.bytes(); } ///< on the device, beside the plan's

private:
  using Key = std::vector<std::uint64_t>;
  const Key &keyOf(Part calls, const std::uint64_t *slotOffsets);
  Part callsOf(Part part) const { return {firstCall[part.begin], firstCall[part.end]}; }
  Result<void> enqueue(Part range, const std::uint64_t *slotOffsets, cuda::Stream stream) const;

  cuda::Api &api;
  CudaScratch scratch;
  std::vector<CudaCall> calls;
  std::vector<Apart> commandsApart;
  std::vector<unsigned> firstCall;  ///< [commands + 1] of a command, or of the next one that has one
  std::vector<std::uint32_t> slots; ///< that the calls' operands lie in, ascending
  Key key;                          ///< of the last look-up: calls, offsets of those slots
  std::map<Key, cuda::Graph> captured;
};

} // namespace stagewright::runtime

#endif
