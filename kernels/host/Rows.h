// Kernels on the rows of a matrix: every row is computed by itself.
#ifndef STAGEWRIGHT_KERNELS_HOST_ROWS_H
#define STAGEWRIGHT_KERNELS_HOST_ROWS_H

#include "kernels/host/Tiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// Calls body(row, worker) for each row.
template <typename Body>
STAGEWRIGHT_INLINE void runRows(TileRunner &runner, std::int64_t rows, std::int64_t columns,
                                const Body &body) {
  const std::int64_t tiles = least(rows, elementTiles(rows * columns));
  runTiles(runner, tiles, [&](std::int64_t index, int worker) {
    const Range range = part(rows, tiles, index);
    for (std::int64_t row = range.begin; row < range.end; ++row)
      body(row, worker);
  });
}

/// A sum over the vectors of a row in order: 64 lanes, element i in lane i mod 64, then lane i with i + 32,
/// i + 16, ..., i + 1. The four vectors of lanes change places at every step, because registers cannot be
/// indexed; the tree does not notice.
struct RowSum {
  Vec16 next{}, second{}, third{}, last{};

  STAGEWRIGHT_INLINE void add(Vec16 value) { put(next + value); }
  STAGEWRIGHT_INLINE void addProduct(Vec16 a, Vec16 b) { put(fma(a, b, next)); }
  STAGEWRIGHT_INLINE float total() const { return sumLanes((next + third) + (second + last)); }

private:
  STAGEWRIGHT_INLINE void put(Vec16 sum) {
    next = second;
    second = third;
    third = last;
    last = sum;
  }
};

/// The largest number of a row; NaNs do not count.
template <typename T>
STAGEWRIGHT_INLINE float largestOfRow(const T *row, std::int64_t columns) {
  const Vec16 least = splat(-__builtin_inff());
  Vec16 most = least;
  eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
    most = larger(fill(read(row + i, lanes), least, lanes), most);
  });
  return largestLane(most);
}

/// Contents of an operand that may be absent.
template <typename T>
STAGEWRIGHT_INLINE const T *optionalOperand(const Call &call, void *const *operands, int operand) {
  return call.operands[operand].present ? static_cast<const T *>(operands[operand]) : nullptr;
}
/// Numbers from 0 on lie in parts of `size` on ranks in order: the place of `number` in the part of `rank`,
/// -1 when it is in none or in another one. A quotient, as rank * size may overflow.
STAGEWRIGHT_INLINE std::int64_t placeInPart(std::int64_t number, std::int64_t size, std::int64_t rank) {
  return number >= 0 && number / size == rank ? number - rank * size : -1;
}
/// `otherwise` when there is nothing to read from.
template <typename Lanes>
STAGEWRIGHT_INLINE Vec16 readOr(const float *from, std::int64_t i, float otherwise, Lanes lanes) {
  return from ? read(from + i, lanes) : splat(otherwise);
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
