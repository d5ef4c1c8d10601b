// The factor on the loss of fp16 training, so that small gradients are not rounded to zero.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_LOSSSCALE_H
#define STAGEWRIGHT_RUNTIME_TRAIN_LOSSSCALE_H

#include "error/Error.h"

#include <cstdint>
#include <string>

namespace stagewright::runtime {

/// DeepSpeed's rules (deepspeed/runtime/fp16/loss_scaler.py, DynamicLossScaler).
struct LossScaleRules {
  double initial = 65536;
  bool dynamic = true;         ///< else the scale never changes
  std::uint64_t window = 1000; ///< so many steps without overflow double the scale
  int hysteresis = 2;          ///< the overflow of this number halves it; those before only skip their step
  bool consecutiveHysteresis = false; ///< each step without overflow begins the count again
  double minimum = 1;
  bool endsAtMinimum = true; ///< an overflow at the minimum is an error, else the scale stays there
};

/// One per rank; all ranks see the same overflows, so all have the same scale.
class LossScale {
public:
  explicit LossScale(const LossScaleRules &rules)
      : rules(rules), scale(rules.initial), left(rules.hysteresis) {}

  /// Of the step to come.
  double value() const { return scale; }
  /// Overflows until the scale is halved.
  int hysteresisLeft() const { return left; }

  /// It never gets lower: an overflow is not its fault.
  bool isLowest() const { return !rules.dynamic || scale <= rules.minimum; }

  /// After each step. Error: User, an overflow at the minimum.
  Result<void> update(bool overflow);

private:
  Result<void> afterOverflow();

  LossScaleRules rules;
  double scale;
  int left;
  std::uint64_t steps = 0, firstWithout = 0; ///< steps so far; the first one behind the last overflow
};

} // namespace stagewright::runtime

#endif
