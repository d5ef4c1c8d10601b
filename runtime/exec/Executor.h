// One rank of a staged executable at work: it has the rank's memory and walks its task lists. On the host
// HostExecutor.h, on a GPU CudaExecutor.h.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_EXECUTOR_H
#define STAGEWRIGHT_RUNTIME_EXEC_EXECUTOR_H

#include "kernels/host/Host.h"
#include "runtime/comm/Communicator.h"
#include "runtime/device/HostDevice.h"
#include "runtime/device/TilePool.h"
#include "runtime/exec/Hooks.h"
#include "runtime/exec/Interrupt.h"
#include "runtime/exec/RankMemory.h"
#include "runtime/exec/RankStatus.h"
#include "runtime/executable/Executable.h"

#include <memory>
#include <string_view>
#include <vector>

namespace stagewright::runtime {

/// Where model inputs come from.
class InputSource {
public:
  virtual ~InputSource() = default;
  /// Writes input `input` of the file for one micro-batch, in the shape of its binding; kRowsInput: the
  /// number of valid rows, i32; kRandomInput: what random numbers are drawn by (stage.fbs). Rows behind the
  /// valid ones are zeros. Called on the rank's thread, which holds no permit; allocates nothing.
  virtual void fill(int input, int microBatch, void *destination) = 0;
};

/// Where results of the model go.
class OutputSink {
public:
  virtual ~OutputSink() = default;
  /// The last layer's value of one micro-batch of evaluation, which lies there during the call. Called on the
  /// thread of the rank that has it, which holds no permit; micro-batches come in the order of the task list.
  virtual Result<void> take(int microBatch, const executable::Operand &value, const std::byte *data) = 0;
};

/// What the ranks of a process share, and what belongs to one rank. All of it outlives the executor.
struct RankEnvironment {
  HostDevice &device;
  HostDevice &host; ///< the memory for what is offloaded
  TilePool &pool;
  Communicator &communicator;
  Mesh mesh; ///< of the communicator's ranks
  RankStatus &status;
  const InterruptFlag *interrupt = nullptr; ///< may be null
  kernels::Isa isa = kernels::Isa::Portable;
  std::vector<Hooks> hooks;
  bool usesNccl = false; ///< on GPUs: between ranks that are processes, or threads with a GPU each
  bool poison = false;   ///< values become NaN when they end: a plan that uses one too late gives other bits
};

class Executor {
public:
  virtual ~Executor() = default;

  /// Runs the training list; `step` counts from 1 and is only passed to hooks and to the watchdog. Errors:
  /// those of the communicator, Interrupted. Allocates nothing from the second call on, nor does evaluate().
  virtual Result<void> train(InputSource &source, std::uint64_t step) = 0;

  /// With parameter servers, between steps: takes the updates that training need not have waited for. All
  /// ranks call it.
  virtual Result<void> catchUp() = 0;

  /// Runs the evaluation list. Derived values (packed weights) are those of the last prepareWeights() or
  /// train().
  virtual Result<void> evaluate(InputSource &source, std::uint64_t pass, OutputSink *outputs = nullptr) = 0;

  /// Runs PREPARE of all stages of the rank: needed once before evaluate() when weights have changed.
  /// Errors: as train().
  virtual Result<void> prepareWeights() = 0;

  /// What data() and tiers() give is copied to where the rank computes, and back: around whatever reads or
  /// writes weights and states from outside. Scalars are copied by train() and evaluate().
  virtual Result<void> upload() = 0;
  virtual Result<void> download() = 0;

  /// Of arenas that are not in the host's memory.
  virtual std::uint64_t deviceBytes() const { return 0; }
  /// Captured graphs of a GPU.
  virtual std::size_t graphs() const { return 0; }

  int rank() const { return environment.communicator.rank(); }
  /// -1: a parameter server, which has neither buffers nor what belongs to micro-batches.
  int replica() const { return environment.mesh.replica(rank()); }
  int tensorRank() const { return environment.mesh.tensorRank(rank()); }
  /// Runs a callback between two steps, on the rank's thread: the watchdog does not hurry it.
  template <typename Callback>
  void callBack(Callback callback) {
    environment.status.leave();
    callback();
    environment.status.comeBack();
  }
  const executable::RankPlan &plan() const { return file.rank(environment.mesh.pipelineRank(rank())); }
  /// In the memory of the host.
  std::byte *data(unsigned arena, std::uint64_t offset) const { return memory.addresses()[arena] + offset; }
  const RankMemory &tiers() const { return memory; }

  /// The cell of a scalar; null when the file has none of this name.
  void *scalar(std::string_view name) const;

protected:
  Executor(const Executable &executable, const RankEnvironment &environment)
      : file(executable), environment(environment) {}
  /// What differs between tensor ranks is no matter of the source.
  void fill(InputSource &source, int input, int microBatch, std::byte *destination) const;

  const Executable &file;
  RankEnvironment environment;
  RankMemory memory;
};

} // namespace stagewright::runtime

#endif
