// A rank on the host: kernels run where they stand in the list, on the pool's threads.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_HOSTEXECUTOR_H
#define STAGEWRIGHT_RUNTIME_EXEC_HOSTEXECUTOR_H

#include "runtime/exec/Executor.h"
#include "runtime/exec/OffloadExchange.h"
#include "runtime/exec/PreparedProgram.h"
#include "runtime/exec/ReplicaExchange.h"
#include "runtime/exec/ServerLink.h"

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace stagewright::runtime {

class HostExecutor final : public Executor {
public:
  /// The rank is the communicator's. Arenas are zero. Errors: Environment (memory, instruction set).
  static Result<std::unique_ptr<HostExecutor>> create(const Executable &executable,
                                                      const RankEnvironment &environment);

  Result<void> train(InputSource &source, std::uint64_t step) override;
  Result<void> catchUp() override;
  Result<void> evaluate(InputSource &source, std::uint64_t pass, OutputSink *outputs) override;
  Result<void> prepareWeights() override;
  Result<void> upload() override { return {}; }
  Result<void> download() override { return {}; }

private:
  HostExecutor(const Executable &executable, const RankEnvironment &environment)
      : Executor(executable, environment), group(environment.communicator, environment.mesh) {}
  Result<void> load();
  Result<void> prepareProgram(const executable::Program &program);
  Result<void> run(TaskPlan &tasks, const std::vector<Segment> &collective, InputSource *source,
                   bool training, std::uint64_t step, OutputSink *outputs = nullptr);
  void planExchanges();
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
