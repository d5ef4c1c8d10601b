// A rank on a GPU. The thread of the rank walks the task list and gives its work to streams, without waiting
// for any of it before the end of the list:
//
//   compute   scalars in | PREPARE  F0  F1 ...  W3  NORM  UPDATE | scalars out      one graph for each
//   program fill         inputs of F0, F1, ...                                               from pinned
//   memory receive      activations and gradients from other ranks                          DeviceMessages.h
//          collective   sums of gradients and parts of weights of other replicas            CudaReplicas.h
//          offload      what lies on the host: its updates there, chunks of it here         CudaOffload.h
//
// StreamPlan.h says which of them waits for which.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_CUDAEXECUTOR_H
#define STAGEWRIGHT_RUNTIME_EXEC_CUDAEXECUTOR_H

#include "runtime/exec/CudaGroupKernels.h"
#include "runtime/exec/CudaMemory.h"
#include "runtime/exec/CudaOffload.h"
#include "runtime/exec/CudaProgram.h"
#include "runtime/exec/CudaReplicas.h"
#include "runtime/exec/CudaStaging.h"
#include "runtime/exec/DeviceMessages.h"
#include "runtime/exec/Executor.h"
#include "runtime/exec/PinnedMemory.h"
#include "runtime/exec/StreamPlan.h"

#include <memory>
#include <vector>

namespace stagewright::runtime {

class CudaExecutor final : public Executor {
public:
  /// The rank is the communicator's, which without NCCL is of a ThreadGroup that moves DeviceCopy. `api`
  /// outlives the executor. Errors: Environment (memory), User (what CUDA does not do yet: it says what to do
  /// instead).
  static Result<std::unique_ptr<CudaExecutor>> create(const Executable &executable,
                                                      const RankEnvironment &environment, cuda::Api &api);
  ~CudaExecutor() override;

  Result<void> train(InputSource &source, std::uint64_t step) override;
  Result<void> catchUp() override { return {}; }
  Result<void> evaluate(InputSource &source, std::uint64_t pass, OutputSink *outputs) override;
  Result<void> prepareWeights() override;
  Result<void> upload() override { return copyState(true); }
  Result<void> download() override { return copyState(false); }

  std::size_t graphs() const override;
  std::uint64_t deviceBytes() const override {
    std::uint64_t bytes = arenas.bytes() + replicas.bytes() + groups.bytes();
    for (const auto &program : programs) {
      bytes += program->scratchBytes();
    }
    return bytes;
  }

private:
  static constexpr std::size_t kStreams = 5 + CudaOffload::kStreams; ///< of a rank, without those of channels

  /// A task list and what its streams wait for.
  struct List {
    TaskPlan tasks;
    StreamPlan streams;
    std::vector<OrderedEvent> done;    ///< [tasks], of those that record
    std::vector<OrderedEvent> filled;  ///< [tasks], of those that fill
    std::vector<std::size_t> stagedAt; ///< [fills] offset in pinned memory
    const executable::Collective *collective = nullptr;
    bool training = true;
  };
  CudaExecutor(const Executable &executable, const RankEnvironment &environment, cuda::Api &api)
      : Executor(executable, environment), api(api), kernels(api, executable.file().contract()->tf32()),
        arenas(api), staging(api), computing(api), filling(api),
        offload(executable, this->environment, api, computing),
        messages(makeDeviceMessages(api, environment.communicator, environment.usesNccl, kStreams,
                                    environment.interrupt)),
        replicas(executable, this->environment, api, kernels, computing),
        groups(executable, this->environment, api, kernels, computing) {}
  Result<void> load();
  Result<void> refuse() const;
  Result<void> openStreams();
  Result<void> connect();
  void planList(List &list, schedule::Purpose purpose);
  Result<void> openEvents(List &list);
  Result<void> preparePrograms();
  Result<void> warmUp();
  Result<void> captureGraphs(const List &list);

  Result<void> run(List &list, InputSource &source, std::uint64_t step, OutputSink *outputs);
  Result<void> runTask(List &list, std::size_t position);
  Result<void> fillInputs(List &list, std::size_t position, InputSource &source);
  Result<void> launch(const List &list, const PlannedTask &task);
  Result<void> launchProgram(int program, const std::uint64_t *slots, bool reduces);
  /// Calls `run` with the parts of a program, and `between` with what lies between them: commands apart, and
  /// the points of exchanges that count. Sums of a step are exchanged in the stage's last W only.
  template <typename Run, typename Between>
  Result<void> forEachPart(int program, bool reduces, Run run, Between between);
  Result<void> share(const PlannedTask &task);
  Result<void> post(const List &list, IndexRange range);
  Result<void> gatherAll(const List &list);
  Result<void> gather(const List &list, const OrderedEvent *made);
  bool addsUpIn(unsigned arena, const executable::Segment &segment) const;
  Result<void> finishGather();
  Result<void> await(std::size_t message);
  Result<void> waitFor(const TaskPlan &tasks, IndexRange range, bool receives);
  Result<void> finishList();
  Result<void> copyState(bool toDevice);
  /// Null: nothing of this step.
  const OrderedEvent *eventAt(const List &list, int position) const {
    return position < 0 ? nullptr : &list.done[static_cast<std::size_t>(position)];
  }
  RankGroup pipeline() const;

  cuda::Api &api;
  cuda::KernelCache kernels;
  HostDevice mirror; ///< of the host's copies
  CudaMemory arenas;
  CudaStaging staging;
  std::vector<DeviceMessages::Channel> channels; ///< of both lists
  bool isConnected = false;
  OrderedStream computing, filling;
  std::vector<std::unique_ptr<CudaProgram>> programs; ///< indexed like RankPlan.programs
  List trainList, evaluateList;
  CudaOffload offload; ///< outlives the talk, whose end lets streams go on that it waits for
  std::unique_ptr<DeviceMessages> messages; ///< requests of the list, then those of its collective
  CudaReplicas replicas;
  CudaGroupKernels groups;
  OrderedEvent partsGathered;                ///< of parts of other replicas, in ALL_GATHER
  std::vector<const OrderedEvent *> awaited; ///< of one wait
  std::vector<std::size_t> unfinished;       ///< messages of the last collective that nobody has waited for
};

} // namespace stagewright::runtime

#endif
