// Passes over the data set of a session without training.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_EVALUATION_H
#define STAGEWRIGHT_RUNTIME_TRAIN_EVALUATION_H

#include "runtime/train/EvaluationOutputs.h"
#include "runtime/train/Session.h"

namespace stagewright::runtime {

class RankEvaluation;

/// On the ranks of the first replica; those of the others have nothing to do.
class Evaluation final : public RankWork {
public:
  /// For the local ranks of `session`, which outlives it.
  explicit Evaluation(const Session &session);
  ~Evaluation() override;

  /// All samples that the data set has at this time, in order, the last batch short.
  Result<void> run(Executor &executor) override;

  /// Means over the samples of the loss and of its terms, until the next run.
  std::span<const double> meanLosses();

  /// Share of right ones among the labels that count; none when the file does not count them.
  std::optional<double> accuracy(double ignoredLabels) const;

  /// Opens the file of outputs where this process has them. Errors: those of EvaluationOutputs, also in the
  /// other processes if the file hands none out.
  Result<void> openOutputs(const std::string &path);
  /// Makes that file visible, if it is this process's.
  Result<void> commitOutputs();

  /// After each pass, on rank 0's thread. To be set between runs.
  std::function<void(std::uint64_t done, std::uint64_t all)> onSamples;

  /// The sums of the run before stay, and this one adds to them. To be set between runs.
  bool continues = false;

  /// Labels that the loss ignores, of the runs as `samples`; 0 in a process that does not read them. Written
  /// by the thread that does.
  double ignoredLabels = 0;

  // Written by rank 0's thread.
  std::uint64_t samples = 0;
  std::vector<double> losses; ///< sums over samples: of the loss, and of its terms where it is a sum
  std::int64_t correct = 0;
  std::int64_t begin = 0, end = 0;

private:
  friend class RankEvaluation;

  std::vector<double> means; ///< what meanLosses() hands out
  const Session &session;
  std::vector<std::unique_ptr<RankEvaluation>> ranks; ///< null: in another process, or of a further replica
  std::optional<EvaluationOutputs> outputs; ///< in the process that has them, where they are asked for
};

} // namespace stagewright::runtime

#endif
