#include "runtime/train/LossScale.h"

#include <algorithm>

namespace stagewright::runtime {

static constexpr double kFactor = 2;
static constexpr double kMost = 0x1p127; // fp32's largest power of two

Result<void> LossScale::afterOverflow() {
  if (left > 1) {
    --left;
    return {};
  }
  if (scale <= rules.minimum && rules.endsAtMinimum) {
    return userError("fp16",
                     "the gradients overflow at the smallest loss scale, " + std::to_string(scale) +
                         "; training has stopped and nothing was written",
                     "lower the learning rate, check the data (train with fp32 or bf16 to see whether it is "
                     "finite there), or lower /fp16/min_loss_scale");
  }
  scale = std::max(scale / kFactor, rules.minimum);
  return {};
}

Result<void> LossScale::update(bool overflow) {
  const std::uint64_t step = steps++;
  if (!rules.dynamic) {
    return {};
  }
  if (overflow) {
    firstWithout = step + 1;
    return afterOverflow();
  }
  if (rules.consecutiveHysteresis) {
    left = rules.hysteresis;
  }
  // The step behind an overflow, like the first one, does not count.
  const std::uint64_t stable = step - firstWithout;
  if (stable > 0 && stable % rules.window == 0) {
    scale = std::min(scale * kFactor, kMost);
    left = rules.consecutiveHysteresis ? left : rules.hysteresis;
  }
  return {};
}

} // namespace stagewright::runtime
