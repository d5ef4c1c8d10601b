// An engine that stays open: its caller fills the batch, then trains or evaluates on it, one call at a time.
//
//   open --> fill batch --> trainBatch --> fill batch --> evaluateBatch --> ... --> saveWeights
//
// Ranks are threads of this process, parked between calls. Any number of engines may live side by side.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_BATCHENGINE_H
#define STAGEWRIGHT_RUNTIME_TRAIN_BATCHENGINE_H

#include "runtime/train/Engine.h"
#include "runtime/train/Evaluation.h"
#include "runtime/train/Training.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace stagewright::runtime {

class BatchEngine {
public:
  /// Of `options` those of EngineOptions count, but for `stage`, `data`, `ranks` and `trace`. Errors: as
  /// train().
  static Result<std::unique_ptr<BatchEngine>> open(std::shared_ptr<const Executable> executable,
                                                   const EngineOptions &options);
  ~BatchEngine();

  const Executable &executable() const { return session->executable; }

  /// The values of one model input, f32 or i32, for train_batch_size samples one behind the other. Sample s
  /// of micro-batch k of replica r is row (r * micro_batches + k) * micro_batch_size + s.
  std::span<std::byte> column(int input) { return batch->buffers[static_cast<std::size_t>(input)]; }

  /// One step on the whole batch. Errors: User (a token or a class label out of range, then nothing has
  /// changed; a loss that is not finite, then weights and optimizer state are spoilt), and those that end the
  /// engine: Rank, Interrupted, Environment. They are returned by every later call as well. Allocates nothing
  /// from the third call on.
  Result<StepReport> trainBatch();

  struct BatchEvaluation {
    std::uint64_t samples = 0;
    double loss = 0;                   ///< mean over the samples; 0 of a model without a loss
    std::span<const double> lossTerms; ///< likewise; they stand until the next call
    std::optional<double> accuracy;    ///< share of right labels, when the file counts them
  };
  /// The first `samples` rows of the batch, from 1 to train_batch_size. With `continues` the outcome is that
  /// of this batch and of those evaluated before it. Training goes on afterwards as if nothing had been.
  /// Errors as above.
  Result<BatchEvaluation> evaluateBatch(std::uint64_t samples, bool continues = false);

  /// See loadWeights() of ModelState.h: weights and buffers, not the optimizer's state.
  Result<void> loadWeights(const std::string &path);
  /// Error besides: User, they are not finite.
  Result<void> saveWeights(const std::string &path);
  /// See TrainSummary.
  Result<StateHashes> hashes();

  std::uint64_t steps() const { return training->steps; }
  std::uint64_t skippedSteps() const { return training->skippedSteps; }
  std::uint64_t plannedBytes() const { return session->plannedBytes(); }

private:
  explicit BatchEngine(Session::Handle session) : session(std::move(session)) {}
  /// What the ranks touch: the session keeps it, as a rank may be stuck when the engine goes.
  struct Batch {
    std::vector<std::vector<std::byte>> buffers; ///< [inputs]
    StepReport lastStep;
    std::shared_ptr<const void> callers;
  };
  Result<StateHashes> finish(const std::string &saveTo);
  Result<void> isComplete();

  Session::Handle session;
  std::shared_ptr<Batch> batch;
  std::shared_ptr<Training> training;
  std::shared_ptr<Evaluation> evaluation;
};

} // namespace stagewright::runtime

#endif
