// The last layer's values of an evaluation, as a file.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_EVALUATIONOUTPUTS_H
#define STAGEWRIGHT_RUNTIME_TRAIN_EVALUATIONOUTPUTS_H

#include "runtime/exec/Executor.h"
#include "runtime/train/NpzWriter.h"

#include <functional>
#include <vector>

namespace stagewright::runtime {

/// The rank that has the outputs. Error: User, the file hands none out.
Result<int> outputRank(const Executable &executable);

/// Writes the array "outputs" [samples, ...] of f32 while micro-batches come, rows that hold no sample left
/// out.
class EvaluationOutputs final : public OutputSink {
public:
  /// Of one output. Errors: NpzWriter's; User, the file's evaluation takes samples out of order.
  static Result<EvaluationOutputs> create(const std::string &path, const Executable &executable,
                                          std::uint64_t samples);

  Result<void> take(int microBatch, const executable::Operand &value, const std::byte *data) override;
  Result<void> commit() { return file.commit(); }

  /// Rows of a micro-batch of the current pass that hold samples.
  std::function<std::int32_t(int microBatch)> validRows;

private:
  explicit EvaluationOutputs(NpzWriter file) : file(std::move(file)) {}

  NpzWriter file;
  std::vector<float> widened; ///< of 16-bit values
};

} // namespace stagewright::runtime

#endif
