// How tensor ranks split a parameter (Split of stage.fbs): which elements of the whole one of them has.
//
//   dim 1 of [2, 6], sections {4, 2}, 2 ranks     a b c d | e f       rank 0: a b e   rank 1: c d f
//                                                 g h i j | k l               g h k           i j l
#ifndef STAGEWRIGHT_RUNTIME_EXECUTABLE_TENSORSPLIT_H
#define STAGEWRIGHT_RUNTIME_EXECUTABLE_TENSORSPLIT_H

#include "schema/stage_generated.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace stagewright::runtime {

/// Of the parameter, whatever tensor ranks have of it.
inline std::vector<std::int64_t> wholeShape(const executable::Parameter &parameter) {
  std::vector<std::int64_t> shape(parameter.shape()->begin(), parameter.shape()->end());
  if (const executable::Split *split = parameter.split()) {
    std::int64_t &size = shape[static_cast<std::size_t>(split->dim())];
    size = 0;
    for (const std::int64_t section : *split->sections()) {
      size += section;
    }
  }
  return shape;
}

/// Calls use(element of the whole, element of the part, elements) for the contiguous runs of elements [first,
/// first + count) of what tensor rank `rank` of `ranks` has of a proved parameter.
template <typename Use>
void forEachRun(const executable::Parameter &parameter, int ranks, int rank, std::uint64_t first,
                std::uint64_t count, Use use) {
  const executable::Split *split = parameter.split();
  if (!split) {
    use(first, first, count);
    return;
  }
  std::uint64_t inner = 1, size = 0; // elements behind the dimension; its size in the whole
  for (unsigned i = static_cast<unsigned>(split->dim()) + 1; i < parameter.shape()->size(); ++i) {
    inner *= static_cast<std::uint64_t>(parameter.shape()->Get(i));
  }
  for (const std::int64_t section : *split->sections()) {
    size += static_cast<std::uint64_t>(section);
  }
  const std::uint64_t own = size / static_cast<unsigned>(ranks);
  for (std::uint64_t at = first; at < first + count;) {
    const std::uint64_t outer = at / (own * inner);
    std::uint64_t row = at / inner % own, before = 0; // in the section at last; of the whole
    for (const std::int64_t section : *split->sections()) {
      const std::uint64_t part = static_cast<std::uint64_t>(section) / static_cast<unsigned>(ranks);
      if (row < part) {
        const std::uint64_t column = at % inner,
                            run = std::min((part - row) * inner - column, first + count - at),
                            wholeRow = before + static_cast<unsigned>(rank) * part + row;
        use((outer * size + wholeRow) * inner + column, at, run);
        at += run;
        break;
      }
      row -= part;
      before += static_cast<std::uint64_t>(section);
    }
  }
}

} // namespace stagewright::runtime

#endif
