// Work cut into tiles by the shape alone.
#ifndef STAGEWRIGHT_KERNELS_HOST_TILES_H
#define STAGEWRIGHT_KERNELS_HOST_TILES_H

#include "kernels/host/Family.h"
#include "kernels/host/Vec16.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

STAGEWRIGHT_INLINE std::int64_t least(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
STAGEWRIGHT_INLINE std::int64_t ceilDivide(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};

/// Part `index` of `total` cut into `parts` ranges whose sizes differ by one at most.
STAGEWRIGHT_INLINE Range part(std::int64_t total, std::int64_t parts, std::int64_t index) {
  const std::int64_t size = total / parts, longer = total % parts;
  const std::int64_t begin = index * size + least(index, longer);
  return {begin, begin + size + (index < longer)};
}

/// Calls body(index, worker) for each tile through the runner.
template <typename Body>
STAGEWRIGHT_INLINE void runTiles(TileRunner &runner, std::int64_t tiles, const Body &body) {
  runner.run(
      int(tiles),
      [](void *context, int index, int worker) { (*static_cast<const Body *>(context))(index, worker); },
      const_cast<Body *>(&body));
}

/// Elements of one tile of an elementwise kernel. Up to twice as many run as one tile.
inline constexpr std::int64_t kElementsPerTile = 16384;

STAGEWRIGHT_INLINE std::int64_t elementTiles(std::int64_t elements) {
  return elements <= 2 * kElementsPerTile ? 1 : ceilDivide(elements, kElementsPerTile);
}

/// Calls body(range) for tiles of [0, elements); every range but the last starts and ends at a multiple
/// of 16.
template <typename Body>
STAGEWRIGHT_INLINE void runElements(TileRunner &runner, std::int64_t elements, const Body &body) {
  const std::int64_t tiles = elementTiles(elements), size = tiles == 1 ? elements : kElementsPerTile;
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    body(Range{index * size, least(elements, (index + 1) * size)});
  });
}

/// Calls body(i, lanes) for the vectors of a range: `lanes` is AllLanes, and at the end a number below 16.
template <typename Body>
STAGEWRIGHT_INLINE void eachVector(Range range, const Body &body) {
  std::int64_t i = range.begin;
  for (; i + kLanes <= range.end; i += kLanes)
    body(i, AllLanes{});
  if (i < range.end)
    body(i, range.end - i);
}

/// Calls body(granule, range) for the granules of [0, elements).
template <typename Body>
STAGEWRIGHT_INLINE void runGranules(TileRunner &runner, std::int64_t elements, const Body &body) {
  runElements(runner, elements, [&](Range range) {
    for (std::int64_t begin = range.begin; begin < range.end; begin += kElementsPerTile)
      body(begin / kElementsPerTile, Range{begin, least(begin + kElementsPerTile, range.end)});
  });
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
