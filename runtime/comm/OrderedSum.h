// Sums of what ranks contribute, elementwise and in the order in which they are given: the same bits wherever
// a range is cut.
#ifndef STAGEWRIGHT_RUNTIME_COMM_ORDEREDSUM_H
#define STAGEWRIGHT_RUNTIME_COMM_ORDEREDSUM_H

#include <cstddef>

namespace stagewright::runtime {

/// sum[i] += term[i], of `count` elements that do not overlap.
template <typename T>
void addTo(T *__restrict sum, const T *__restrict term, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    sum[i] = sum[i] + term[i];
  }
}

} // namespace stagewright::runtime

#endif
