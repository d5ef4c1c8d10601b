// Training and evaluation of a staged executable on the host: what the program and the C++ API call.
//
//   ranks as threads      one call in one process runs all ranks of the file
//   ranks as processes    every process of an MPI job makes the same call;
//                         each runs the rank that MPI gives it
//
// Nothing is printed except by the callback and the watchdog. Nothing is written before a run has ended well.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_ENGINE_H
#define STAGEWRIGHT_RUNTIME_TRAIN_ENGINE_H

#include "error/Error.h"
#include "kernels/cuda/Api.h"
#include "kernels/host/Host.h"
#include "runtime/exec/Hooks.h"
#include "runtime/exec/Interrupt.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace stagewright::runtime {

enum class RankMode { Threads, Processes };

struct EngineOptions {
  std::string stage; ///< path of the .stage file
  std::string data;  ///< folder of IDX files, or "synthetic" (see Dataset.h)
  RankMode ranks = RankMode::Threads;
  /// Which of the file's targets: "host", or "cuda" with a function table for each rank's GPU. `rank`: among
  /// the ranks of this machine; `ranks`: of this process.
  std::string target = "host";
  std::function<Result<std::unique_ptr<cuda::Api>>(int rank, int ranks)> openDevice;
  bool usesNccl = false; ///< on GPUs, also between threads, each of which then needs a GPU of its own
  int threads =
      0; ///< that compute in this process; 0: the usable cores, shared by the processes of this machine
  std::optional<kernels::Isa> isa; ///< none: the best of this machine
  std::string init;            ///< initial weights (see WeightFiles.h); empty: drawn by name (see Random.h)
  std::string trace;           ///< file for the trace (see TraceFile.h); empty: none
  bool isolateRanks = false;   ///< each rank on a core of its own
  double watchdogSeconds = 60; ///< 0: none (see Watchdog.h)
  std::function<void(const std::string &)> printWatchdog; ///< takes its lines; null: stderr
  /// Gets one line that names the kernel which first made a value that is not finite (see NanFinder.h), on
  /// each process that meets one; null: nobody looks.
  void (*onNotFinite)(const std::string &line) = nullptr;
  const InterruptFlag *interrupt = nullptr;
  /// Lives as long as a rank of the run does, which may be stuck: what the pointers of these options point
  /// to.
  std::shared_ptr<const void> keeps;
  /// Calls of operator new so far (allocationCount of device/AllocationCounter.h); null: not counted.
  std::uint64_t (*allocationCount)() = nullptr;

  // For tests:
  int taskSleepMilliseconds = 0; ///< > 0: F, I, W sleep so long instead of computing, B twice as long
  bool poison = false;           ///< bytes of values that are no longer alive become NaN
  std::vector<Hooks> hooks;
};

/// After every step, on rank 0's thread. Must not allocate, if allocations are to be counted.
struct StepReport {
  std::uint64_t step = 0, steps = 0; ///< step counts from 1
  double loss = 0;                   ///< mean over the step's samples
  /// Of a loss that is a weighted sum: its terms, without their weights, in the order of
  /// Executable::lossTerms().
  std::span<const double> lossTerms = {};
  double gradientNorm = 0; ///< before clipping; 0 where the file does not compute it. With late updates: that
                           ///< of the one taken last; 0: none yet
  bool skipped = false;    ///< of 16-bit precision: gradients were not finite, weights stay
  double lossScale = 1;    ///< that the step was made with; 1 except in fp16
  double learningRate = 0; ///< with which the step trained
  double samplesPerSecond = 0; ///< of this step
  /// Every steps_per_print steps: "steps: 10 loss: 2.3026 iter time (s): 0.001 samples/sec: 64000.000 lr:
  /// 0.001", behind the loss "NAME: VALUE" of each term; else null.
  const char *line = nullptr;
  /// Of a skipped step: "step 7 skipped: ..."; else null.
  const char *notice = nullptr;
};

struct TrainOptions : EngineOptions {
  std::optional<std::uint64_t> steps;  ///< or
  std::optional<std::uint64_t> epochs; ///< of floor(samples / train_batch_size) steps; neither: one epoch
  std::string sampleOrder;             ///< stored order of samples instead of the shuffle (see SampleOrder.h)
  std::string saveWeights;             ///< safetensors to write at the end; empty: none
  /// Gets what a user may not expect of these options, once, before the first step; null: nobody.
  void (*onNotice)(const std::string &line) = nullptr;
  std::function<void(const StepReport &)> onStep;
};

/// What a run has of its GPUs.
struct DeviceUse {
  /// By how much loading has lowered the free memory that GPUs report: arenas, and what the driver and
  /// libraries take besides. What others do on them in that time counts as well.
  std::uint64_t bytes = 0;
  std::uint64_t graphs = 0; ///< captured, of all ranks
  /// Calls of all ranks, with every kernel that cuDNN may run; the refusal is one of this process.
  cuda::DnnUses dnn = {};
};

struct TrainSummary {
  int rank =
      0; ///< of this process; rank 0 (always, with threads) has all that follows, others only what is theirs
  std::uint64_t steps = 0;
  double loss = 0;            ///< of the last step
  std::vector<double> losses; ///< of every step
  /// Of a loss that is a weighted sum: each term of every step, in the order of the model's terms.
  std::vector<std::pair<std::string, std::vector<double>>> lossTerms;
  double samplesPerSecond = 0; ///< from the end of the first step on (from the start when there is one only)
  std::string weightsSha256;   ///< fp32, little-endian, in order of the parameters' names
  /// In order of the names of parameters and buffers, i64 before all f32: the weights or the buffer, then
  /// optimizer states in order of their names (gradients, which are zero between steps, left out); then the
  /// number of steps as u64, little-endian, and in 16-bit precision the number of skipped ones and, as f64,
  /// the loss scale of the next step and the overflows until it is halved.
  std::string stateSha256;
  std::uint64_t skippedSteps = 0;
  std::optional<double> lossScale;  ///< of fp16: of the next step
  std::uint64_t plannedBytes = 0;   ///< of all arenas of all ranks in the device's memory, in whole pages
  std::uint64_t offloadedBytes = 0; ///< of the arenas in host memory, on all ranks
  std::uint64_t allocatedBytes = 0; ///< of the arenas that exist, on all ranks
  std::optional<DeviceUse> device;  ///< of target "cuda"
  std::optional<std::uint64_t>
      allocationsAfterWarmup; ///< operator new between the ends of step 2 and the last; all ranks
};

/// Errors: User (a file, a model without a loss, the data, a loss that is not finite), Environment (memory,
/// MPI), Rank (a rank died or stands still: named), Interrupted. With processes, an error that only some
/// ranks meet while they train goes to the launcher (reportError) and ends the job; the call does not return
/// there.
Result<TrainSummary> train(const TrainOptions &options);

struct EvaluateOptions : EngineOptions {
  bool trainingData = false; ///< instead of the test data ("t10k")
  /// .npz to write: "outputs" f32 [samples, ...], the last layer's values in the order of the data; empty:
  /// none.
  std::string outputs;
  std::function<void(std::uint64_t done, std::uint64_t all)>
      onSamples; ///< on rank 0's thread, after each pass
};

struct EvaluationSummary {
  int rank = 0;
  std::uint64_t samples = 0;
  std::optional<double> loss; ///< mean over all samples; none of a model without a loss
  std::vector<std::pair<std::string, double>> lossTerms; ///< of a loss that is a weighted sum
  std::optional<double>
      accuracy; ///< share of right ones among the labels that count, when the file counts them
  std::string weightsSha256;
  double samplesPerSecond = 0;
  std::uint64_t plannedBytes = 0, allocatedBytes = 0;
};

/// The whole data set, in order, the last batch short. Errors as for train(). A file of outputs appears when
/// all has gone well.
Result<EvaluationSummary> evaluate(const EvaluateOptions &options);

} // namespace stagewright::runtime

#endif
