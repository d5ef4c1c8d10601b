// Tensors walked in the order of another one's elements.
#ifndef STAGEWRIGHT_KERNELS_HOST_STRIDES_H
#define STAGEWRIGHT_KERNELS_HOST_STRIDES_H

#include "kernels/host/Tiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// Where the elements of a tensor lie, outermost dimension first: the offset of element (i, j, ...) is
/// i * strides[0] + j * strides[1] + ...
struct Strides {
  int rank = 0;
  std::int64_t sizes[8] = {}, strides[8] = {};

  /// Adds an inner dimension; it becomes one with the last one where that changes nothing.
  void add(std::int64_t size, std::int64_t stride) {
    if (size == 1)
      return;
    if (rank > 0 && strides[rank - 1] == stride * size) {
      sizes[rank - 1] *= size;
      strides[rank - 1] = stride;
      return;
    }
    sizes[rank] = size;
    strides[rank++] = stride;
  }

  std::int64_t elements() const {
    std::int64_t product = 1;
    for (int i = 0; i < rank; ++i)
      product *= sizes[i];
    return product;
  }

  /// The offset of element `index`, counted with the last dimension fastest.
  std::int64_t offset(std::int64_t index) const {
    std::int64_t sum = 0;
    for (int i = rank - 1; i >= 0; --i) {
      sum += index % sizes[i] * strides[i];
      index /= sizes[i];
    }
    return sum;
  }

  /// Takes the innermost dimension away; one of size 1 when there is none.
  void takeInner(std::int64_t &size, std::int64_t &stride) {
    size = rank > 0 ? sizes[rank - 1] : 1;
    stride = rank > 0 ? strides[rank - 1] : 1;
    rank -= rank > 0;
  }

  /// Calls body(index, offset) for the elements of a range, in order.
  template <typename Body>
  STAGEWRIGHT_INLINE void each(Range range, const Body &body) const {
    std::int64_t position[8] = {}, at = 0;
    for (std::int64_t i = rank - 1, index = range.begin; i >= 0; --i) {
      position[i] = index % sizes[i];
      at += position[i] * strides[i];
      index /= sizes[i];
    }
    for (std::int64_t index = range.begin; index < range.end; ++index) {
      body(index, at);
      for (int i = rank - 1; i >= 0; --i) {
        at += strides[i];
        if (++position[i] < sizes[i])
          break;
        at -= position[i] * strides[i];
        position[i] = 0;
      }
    }
  }
};

/// The strides of a row-major operand.
STAGEWRIGHT_INLINE void rowMajor(const CallOperand &operand, std::int64_t (&strides)[8]) {
  std::int64_t stride = 1;
  for (int i = operand.rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= operand.sizes[i];
  }
}

/// `to`, walked in the order of the elements of `from`, to whose shape NumPy would broadcast it: dimensions
/// that are repeated have stride 0.
STAGEWRIGHT_INLINE Strides broadcast(const CallOperand &to, const CallOperand &from) {
  std::int64_t strides[8] = {};
  rowMajor(to, strides);
  Strides out;
  for (int i = 0; i < from.rank; ++i) {
    const int own = i - (from.rank - to.rank);
    out.add(from.sizes[i], own < 0 || to.sizes[own] == 1 ? 0 : strides[own]);
  }
  return out;
}

/// Calls body(index, begin, end) for each row of `length` that a range of elements covers, with the part
/// [begin, end) of that row.
template <typename Body>
STAGEWRIGHT_INLINE void eachRow(Range range, std::int64_t length, const Body &body) {
  std::int64_t row = range.begin / length, begin = range.begin % length;
  for (std::int64_t i = range.begin; i < range.end; ++row, begin = 0) {
    const std::int64_t end = least(length, begin + range.end - i);
    body(row, begin, end);
    i += end - begin;
  }
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
