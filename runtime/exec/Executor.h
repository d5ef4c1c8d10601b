// Runs one rank of a staged executable: allocates its arenas, prepares its kernels, walks its task lists.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_EXECUTOR_H
#define STAGEWRIGHT_RUNTIME_EXEC_EXECUTOR_H

#include "runtime/comm/Communicator.h"
#include "runtime/device/HostDevice.h"
#include "runtime/device/TilePool.h"
#include "runtime/exec/Interrupt.h"
#include "runtime/exec/OffloadExchange.h"
#include "runtime/exec/PreparedProgram.h"
#include "runtime/exec/ReplicaExchange.h"
#include "runtime/exec/ServerLink.h"

#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
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
  bool poison = false; ///< values become NaN when they end: a plan that uses one too late gives other bits
};

class Executor {
public:
  /// The rank is the communicator's. Arenas are zero. Errors: Environment (memory, instruction set).
  static Result<std::unique_ptr<Executor>> create(const Executable &executable,
                                                  const RankEnvironment &environment);

  /// Runs the training list; `step` counts from 1 and is only passed to hooks and to the watchdog. Errors:
  /// those of the communicator, Interrupted. Allocates nothing from the second call on, nor does evaluate().
  Result<void> train(InputSource &source, std::uint64_t step);

  /// With parameter servers, between steps: takes the updates that training need not have waited for. All
  /// ranks call it.
  Result<void> catchUp();

  /// Runs the evaluation list. Derived values (packed weights) are those of the last prepareWeights() or
  /// train().
  Result<void> evaluate(InputSource &source, std::uint64_t pass, OutputSink *outputs = nullptr);

  /// Runs PREPARE of all stages of the rank: needed once before evaluate() when weights have changed.
  /// Errors: as train().
  Result<void> prepareWeights();

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
  std::byte *data(unsigned arena, std::uint64_t offset) const { return memory.addresses()[arena] + offset; }
  const RankMemory &tiers() const { return memory; }

  /// The cell of a scalar; null when the file has none of this name.
  void *scalar(std::string_view name) const;

private:
  Executor(const Executable &executable, const RankEnvironment &environment)
      : file(executable), environment(environment), group(environment.communicator, environment.mesh) {}
  Result<void> load();
  Result<void> prepareProgram(const executable::Program &program);
  Result<void> run(TaskPlan &tasks, const std::vector<Segment> &collective, InputSource *source,
                   bool training, std::uint64_t step, OutputSink *outputs = nullptr);
  void planExchanges();
  void fill(InputSource &source, const Fill &fill, int microBatch) const;
  Result<void> reduce(int stage, std::uint64_t step);
  Result<void> gather(schedule::TaskKind task, int stage);
  Result<void> endExchange(unsigned number, std::uint64_t step);
  RankGroup replicas() const { return replicasOf(environment.mesh, rank()); }
  RankGroup sharingWith(schedule::TaskKind task) const;
  Result<void> handOut(const schedule::Task &task, OutputSink &outputs);
  Result<void> waitFor(const TaskPlan &tasks, IndexRange range);
  Result<void> communicate(const TaskPlan &tasks, const PlannedTask &task,
                           const std::vector<Segment> &collective, const TaskEvent &event);
  Result<void> runTask(const TaskPlan &tasks, const PlannedTask &task, const std::vector<Segment> &collective,
                       const TaskEvent &event);
  Result<void> compute(const TaskPlan &tasks, const PlannedTask &task, const TaskEvent &event);
  Result<void> runProgram(unsigned program, const std::uint64_t *slots, std::uint64_t step, bool reduces,
                          std::optional<TilePool::Lease> &lease);
  void releaseWeights(unsigned program);
  Result<void> post(const TaskPlan &tasks, IndexRange range);
  void poison(const DeadBytes &bytes);

  const Executable &file;
  RankEnvironment environment;
  RankMemory memory;
  GroupKernels group;
  std::vector<PreparedProgram> programs; ///< indexed like RankPlan.programs
  TaskPlan trainTasks, evaluateTasks, updateTasks;
  std::vector<Segment> trainCollective, evaluateCollective;
  std::map<int, std::vector<Segment>> sums; ///< by stage: what one replica gets
  std::map<std::pair<schedule::TaskKind, int>, std::vector<Segment>> gathers; ///< by task and stage
  std::vector<std::unique_ptr<ProgramExchange>> exchanges;                    ///< as in the file
  ReplicaExchange::Unsent unsent;
  std::unique_ptr<WireFormat> wire; ///< null: fp32
  std::unique_ptr<ServerLink> link; ///< null: no parameter servers
  std::vector<Request> requests;
  bool replacesBodies = false;
};

} // namespace stagewright::runtime

#endif
