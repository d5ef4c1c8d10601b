#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_BATCHTRIANGLE_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_BATCHTRIANGLE_H

#include "error/Error.h"

#include <cstdint>
#include <optional>
#include <string>

namespace stagewright {

/// What is known of train_batch_size = train_micro_batch_size_per_gpu x gradient_accumulation_steps x ranks.
struct GivenBatch {
  std::optional<std::int64_t> train;        ///< train_batch_size
  std::optional<std::int64_t> micro;        ///< train_micro_batch_size_per_gpu
  std::optional<std::int64_t> microBatches; ///< gradient_accumulation_steps
};

struct BatchSizes {
  int train = 0, micro = 0, microBatches = 0;
};

/// A .stage file takes no more, and ranks have a buffer for each other replica.
inline constexpr int kMaximumReplicas = 256, kMaximumTensorRanks = 256;
inline constexpr int kMaximumMicroBatches = 65535; ///< slots are numbered with 16 bits in the .stage file

/// Fills in what is missing by DeepSpeed's rules: of three, the third by integer division or product; of one,
/// one micro-batch. Errors at `place`: neither batch size given, a size that is not positive or too large, a
/// product that is not exact (all four numbers named).
Result<BatchSizes> resolveBatch(const GivenBatch &given, int dataParallel, const std::string &place);

} // namespace stagewright

#endif
