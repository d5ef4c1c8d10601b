// Steps of training on the ranks of a session: train() makes all of them in one run, an engine one after the
// other.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_TRAINING_H
#define STAGEWRIGHT_RUNTIME_TRAIN_TRAINING_H

#include "runtime/train/LossScale.h"
#include "runtime/train/SampleOrder.h"
#include "runtime/train/Session.h"

namespace stagewright::runtime {

/// Error: User, the model has no loss, so that nothing can be trained.
Result<void> checkHasLoss(const Executable &executable);

class RankTraining;

class Training final : public RankWork {
public:
  /// For the local ranks of `session`, which outlives it; the samples are those of its data set, in `order`.
  Training(const Session &session, const SampleOrder &order);
  ~Training() override;

  /// Makes steps until `steps` have been made since the beginning, or one has stopped.
  Result<void> run(Executor &executor) override;

  /// What a run is besides its weights and optimizer state; see TrainSummary. Rank 0's.
  std::vector<std::uint64_t> progress() const;

  // To be set between runs.
  std::uint64_t steps = 0;
  bool keepsLosses = false;                       ///< in `losses` and `termLosses`
  std::function<void(const StepReport &)> onStep; ///< on rank 0's thread
  std::uint64_t (*allocationCount)() = nullptr;

  // Written by rank 0's thread.
  std::vector<double> losses;     ///< of every step
  std::vector<double> termLosses; ///< [steps][terms]
  std::uint64_t skippedSteps = 0;
  std::optional<LossScale> lossScale; ///< behind the last step; none but in fp16
  std::int64_t begin = 0, firstEnd = 0, end = 0;
  std::uint64_t warmAllocations = 0, finalAllocations = 0;
  std::optional<Error> stopped; ///< an error on which all ranks agree: nothing is half-done

private:
  const bool skipsOverflow;
  std::vector<std::unique_ptr<RankTraining>> ranks; ///< null: in another process
};

} // namespace stagewright::runtime

#endif
