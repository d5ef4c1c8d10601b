// Transposition of 16 x 16 elements in registers.
#ifndef STAGEWRIGHT_KERNELS_HOST_TRANSPOSE_H
#define STAGEWRIGHT_KERNELS_HOST_TRANSPOSE_H

#include "kernels/host/Vec16.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

template <int... Numbers>
struct LaneList {};
using AllLaneNumbers = LaneList<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;

/// One of the four steps of a transposition. In each pair of rows that are `Distance` apart:
///   a0 a1 | b0 b1  ->  a0 b0 | a1 b1      (blocks of `Distance` lanes)
template <int Distance, int... Lane>
STAGEWRIGHT_INLINE void exchange(Vec16 (&rows)[kLanes], LaneList<Lane...>) {
#pragma GCC unroll 16
  for (int row = 0; row < kLanes; ++row)
    if ((row & Distance) == 0) {
      const Vec16 a = rows[row], b = rows[row + Distance];
      rows[row] = __builtin_shufflevector(a, b, (Lane & Distance ? kLanes + Lane - Distance : Lane)...);
      rows[row + Distance] =
          __builtin_shufflevector(a, b, (Lane & Distance ? kLanes + Lane : Lane + Distance)...);
    }
}

/// Lane j of row i and lane i of row j change places.
STAGEWRIGHT_INLINE void transpose(Vec16 (&rows)[kLanes]) {
  exchange<1>(rows, AllLaneNumbers{});
  exchange<2>(rows, AllLaneNumbers{});
  exchange<4>(rows, AllLaneNumbers{});
  exchange<8>(rows, AllLaneNumbers{});
}

/// Writes to + j * toStride for the first `columns` of 16 columns j: map(from[i * fromStride + j]) in lane i,
/// zero in the lanes from `rows` on.
template <typename T, typename Map>
STAGEWRIGHT_INLINE void transpose(const T *from, std::int64_t fromStride, std::int64_t rows,
                                  std::int64_t columns, float *to, std::int64_t toStride, const Map &map) {
  Vec16 lanes[kLanes] = {};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (i < rows)
      lanes[i] =
          map(columns >= kLanes ? load(from + i * fromStride) : loadFirst(from + i * fromStride, columns));
  transpose(lanes);
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j)
    if (j < columns)
      store(to + j * toStride, lanes[j]);
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
