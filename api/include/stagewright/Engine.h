// Trains and evaluates a staged executable in this process.
//
//   auto engine = Engine::create(executable);
//   for (int step = 0; step < 100; ++step) {
//     auto report = engine->trainBatch(source);    // DeepSpeed's train_batch
//     if (!report) { ... report.error().text() ... }
//   }
//   auto loss = engine->evaluate(testSource);      // evalBatch: DeepSpeed's eval_batch
//
// The library never exits, prints, throws, sets signal handlers or keeps global state. An engine is used by
// one thread at a time; any number of them may live side by side.
#ifndef STAGEWRIGHT_ENGINE_H
#define STAGEWRIGHT_ENGINE_H

#include "stagewright/Data.h"
#include "stagewright/Error.h"
#include "stagewright/Executable.h"
#include "stagewright/Export.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace stagewright {
inline namespace v0 {

enum class Ranks {
  Threads,  ///< of this process, parked between calls
  Processes ///< refused in this version: stagewright train --ranks processes has them
};

struct EngineOptions {
  Ranks ranks = Ranks::Threads;
  int threads = 0; ///< that compute; 0: as many as there are cores. The bits do not depend on it
  /// A safetensors file, or a Hugging Face folder; empty: drawn from the configuration's seed.
  std::string initialWeights;
  /// When nothing has moved for so long within a call, `onStandstill` gets one line for each rank; after as
  /// long again the call ends with an error of kind Rank. 0: never.
  double watchdogSeconds = 60;
  std::function<void(const std::string &line)> onStandstill; ///< called by a thread of the engine
};

struct StepReport {
  std::uint64_t step = 0; ///< from 1
  double loss = 0;        ///< mean over the step's samples
  /// Of several losses: each without its weight, in the order of executable().lossTerms(). They stand in
  /// memory of the engine, until its next call.
  std::span<const double> lossTerms = {};
  double gradientNorm = 0; ///< before clipping; 0 where the plan does not compute it. With late updates: that
                           ///< of the one taken last; 0: none yet
  bool skipped = false;    ///< of 16-bit precision: gradients were not finite, the weights stayed
  double learningRate = 0; ///< with which the step trained
  double lossScale = 1;    ///< with which the step was made; 1 except in fp16
};

struct EvaluationReport {
  std::uint64_t samples = 0;
  double loss = 0;                ///< mean over the samples; 0 of a model without a loss
  std::vector<double> lossTerms;  ///< of several losses, as in StepReport
  std::optional<double> accuracy; ///< share of right labels, when the model counts them
};

/// A moved-from engine can only be destroyed or assigned to.
class STAGEWRIGHT_API Engine {
public:
  /// Allocates exactly executable.plannedBytes() for the ranks, and a batch of inputs. Errors: User (the
  /// weights, a number of threads), Environment (memory, threads).
  static Result<Engine> create(const StagedExecutable &executable, const EngineOptions &options = {});
  Engine(Engine &&) noexcept;
  Engine &operator=(Engine &&) noexcept;
  ~Engine();

  /// One step on the next trainBatchSize() samples of `source`: of a source with an end in the order that
  /// the program's `train` takes (epochs, shuffled by the seed unless the configuration says otherwise), by
  /// the number of steps made so far. Errors: User (of the source; a label or a token out of range; then
  /// nothing has changed. A loss that is not finite: weights and optimizer state are spoilt, make a new
  /// engine). Rank, Interrupted, Environment: the engine has ended, and says so at every later call.
  /// Allocates nothing from the third call on, unless the source does.
  Result<StepReport> trainBatch(DataSource &source);

  /// Loss of the batch that begins at `firstSample`, in order, short at the end of the source. Training goes
  /// on afterwards as if nothing had been. Errors: User (of the source; nothing there), and as above.
  Result<EvaluationReport> evalBatch(DataSource &source, std::uint64_t firstSample = 0);
  /// The same over all samples of a source that has an end.
  Result<EvaluationReport> evaluate(DataSource &source);

  /// A safetensors file of the parameters and buffers, by PyTorch's names. Errors: User (they are not finite,
  /// the path cannot be written), Environment.
  Result<void> saveWeights(const std::string &path);
  /// Takes such a file, or a Hugging Face folder, from anywhere. The optimizer's state and the count of steps
  /// stay. Error: User, every difference from the model at once; then nothing has changed.
  Result<void> loadWeights(const std::string &path);
  /// Hex, of all parameters: what the program's --json calls weights_sha256.
  Result<std::string> weightsSha256();

  std::uint64_t steps() const;        ///< made, with the skipped ones
  std::uint64_t skippedSteps() const; ///< of 16-bit precision
  const StagedExecutable &executable() const;

  /// May be called by any thread and by a signal handler: the call that runs now, or the next one, returns an
  /// error of kind Interrupted within about 50 ms, and the engine has ended.
  void interrupt() noexcept;

private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

} // namespace v0
} // namespace stagewright

#endif
