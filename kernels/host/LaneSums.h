// Long sums that keep their digits: sixteen lanes, floats for a while, then doubles.
#ifndef STAGEWRIGHT_KERNELS_HOST_LANESUMS_H
#define STAGEWRIGHT_KERNELS_HOST_LANESUMS_H

#include "kernels/host/Tiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// Additions of one float lane before it goes to a double.
inline constexpr std::int64_t kFloatAdditions = 64;

/// The sums of Count functions over a range in sixteen lanes each: floats for up to kFloatAdditions vectors,
/// then doubles. f(i, lanes, out) sets out[0 .. Count).
template <int Count, typename Function>
STAGEWRIGHT_INLINE void addRange(Range range, Double16 (&totals)[Count], const Function &f) {
  for (std::int64_t begin = range.begin; begin < range.end; begin += kFloatAdditions * kLanes) {
    Vec16 sums[Count] = {};
    eachVector({begin, least(range.end, begin + kFloatAdditions * kLanes)}, [&](std::int64_t i, auto lanes) {
      Vec16 values[Count];
      f(i, lanes, values);
      for (int k = 0; k < Count; ++k)
        sums[k] = sums[k] + fill(values[k], Vec16{}, lanes);
    });
    for (int k = 0; k < Count; ++k)
      totals[k] += widen(sums[k]);
  }
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
