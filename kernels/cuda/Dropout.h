// The random numbers of kernels with a dropout.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DROPOUT_H
#define STAGEWRIGHT_KERNELS_CUDA_DROPOUT_H

#include "kernels/cuda/device/DropoutArguments.h"

#include <cstdint>

namespace stagewright::cuda {

/// Of operand `random` and the attributes p, block and ordinal.
inline DropoutNumbers dropoutNumbers(const void *random, double p, std::int64_t block, std::int64_t ordinal) {
  const auto limit = static_cast<std::uint64_t>(p * 0x1p32 + 0.5);
  const bool none = limit >= std::uint64_t{1} << 32;
  return {static_cast<const std::uint32_t *>(random), static_cast<std::uint32_t>(block * 65536 + ordinal),
          static_cast<std::uint32_t>(limit), none, none ? 0.0f : static_cast<float>(1.0 / (1.0 - p))};
}

} // namespace stagewright::cuda

#endif
