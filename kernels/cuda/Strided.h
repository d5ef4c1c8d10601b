// Tensors walked in the order of another one's elements.
#ifndef STAGEWRIGHT_KERNELS_CUDA_STRIDED_H
#define STAGEWRIGHT_KERNELS_CUDA_STRIDED_H

#include "kernels/cuda/Family.h"
#include "kernels/cuda/device/StridedArguments.h"

namespace stagewright::cuda {

using kernels::CallOperand;

/// Adds an inner dimension; it becomes one with the last one where that changes nothing.
inline void addDimension(Strided &to, std::int64_t size, std::int64_t stride) {
  if (size == 1) {
    return;
  }
  if (to.rank > 0 && to.strides[to.rank - 1] == stride * size) {
    to.sizes[to.rank - 1] *= size;
    to.strides[to.rank - 1] = stride;
    return;
  }
  to.sizes[to.rank] = size;
  to.strides[to.rank++] = stride;
}

inline std::int64_t elementsOf(const Strided &of) {
  std::int64_t product = 1;
  for (int i = 0; i < of.rank; ++i) {
    product *= of.sizes[i];
  }
  return product;
}

inline std::array<std::int64_t, 8> rowMajor(const CallOperand &operand) {
  std::array<std::int64_t, 8> strides{};
  std::int64_t stride = 1;
  for (int i = operand.rank - 1; i >= 0; --i) {
    strides[static_cast<std::size_t>(i)] = stride;
    stride *= operand.sizes[i];
  }
  return strides;
}

/// `to`, walked in the order of the elements of `from`, to whose shape NumPy would broadcast it: dimensions
/// that are repeated have stride 0.
inline Strided broadcast(const CallOperand &to, const CallOperand &from) {
  const auto strides = rowMajor(to);
  Strided out{};
  for (int i = 0; i < from.rank; ++i) {
    const int own = i - (from.rank - to.rank);
    addDimension(out, from.sizes[i],
                 own < 0 || to.sizes[own] == 1 ? 0 : strides[static_cast<std::size_t>(own)]);
  }
  return out;
}

} // namespace stagewright::cuda

#endif
