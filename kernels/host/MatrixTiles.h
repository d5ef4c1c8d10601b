// How a product of matrices is cut into tiles and its depth into chunks: by the shape alone.
#ifndef STAGEWRIGHT_KERNELS_HOST_MATRIXTILES_H
#define STAGEWRIGHT_KERNELS_HOST_MATRIXTILES_H

#include "kernels/host/MicroKernel.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// Rows and panels of the largest tile: its part of B stays in the second-level cache.
inline constexpr std::int64_t kTileRows = 112, kTilePanels = 8;
/// The most steps of depth between two visits of C. A contraction of linear or linear_input_grad is one chain
/// per chunk, added in order: short chains lose fewer digits.
inline constexpr std::int64_t kMaxChunk = 128;
/// Products with fewer multiplications run as one tile.
inline constexpr std::int64_t kSmallProduct = 1 << 19;
/// Tiles are made narrower until there are this many, but not below this many multiplications.
inline constexpr std::int64_t kEnoughTiles = 16, kTileWork = 1 << 19;

/// Chunks of a packed matrix: as equal as multiples of 8 allow.
STAGEWRIGHT_INLINE std::int64_t chunkLength(std::int64_t depth) {
  return ceilDivide(ceilDivide(depth, ceilDivide(depth, kMaxChunk)), 8) * 8;
}

/// Rows of the left matrix whose distance is a multiple of this many floats share one set of the first-level
/// cache: a block of them is copied to a slab, where their distance is another one.
inline constexpr std::int64_t kBadStride = 1024;
/// Floats between the rows of a slab.
inline constexpr std::int64_t kSlabStride = kMaxChunk + 16;
/// Floats of a tile whose elements are halves: its results are rounded once, when they are complete.
inline constexpr std::int64_t kResultStride = kTilePanels * kPanel, kResultFloats = kTileRows * kResultStride;

template <typename From, typename To>
STAGEWRIGHT_INLINE void copyRow(const From *from, To *to, std::int64_t count) {
  eachVector({0, count}, [&](std::int64_t i, auto lanes) { write(to + i, read(from + i, lanes), lanes); });
}

/// One step of a panel of B: the first `width` of 32 columns, then zeros.
template <typename T>
STAGEWRIGHT_INLINE void packPanelRow(const T *from, std::int64_t width, float *to) {
  const std::int64_t first = least(width, kLanes);
  store(to, loadFirst(from, first));
  store(to + kLanes, loadFirst(from + kLanes, width - first));
}

template <typename T>
inline constexpr bool kIsFloat = false;
template <>
inline constexpr bool kIsFloat<float> = true;

struct MatrixTile {
  Range rows, columns;
};

/// The tiles of a rows x columns result.
struct MatrixTiles {
  std::int64_t rows, columns, rowTiles = 1, columnTiles = 1;
  bool small = false;

  STAGEWRIGHT_INLINE MatrixTiles(std::int64_t rows, std::int64_t columns, std::int64_t depth)
      : rows(rows), columns(columns) {
    const double work = double(rows) * double(columns) * double(depth);
    const std::int64_t panels = ceilDivide(columns, kPanel);
    rowTiles = ceilDivide(rows, kTileRows);
    std::int64_t tilePanels = kTilePanels;
    small = work <= double(kSmallProduct);
    if (!small) {
      const double ofPanel = double(ceilDivide(rows, rowTiles)) * double(depth) * kPanel;
      while (tilePanels > 1 && rowTiles * ceilDivide(panels, tilePanels) < kEnoughTiles &&
             double(tilePanels / 2) * ofPanel >= double(kTileWork))
        tilePanels /= 2;
    }
    columnTiles = ceilDivide(panels, tilePanels);
  }

  STAGEWRIGHT_INLINE std::int64_t count() const { return rowTiles * columnTiles; }

  /// Calls body(tile, worker) for each tile; for all of them on the calling thread when the product is small.
  template <typename Body>
  STAGEWRIGHT_INLINE void run(TileRunner &runner, const Body &body) const {
    runTiles(runner, small ? 1 : count(), [&](std::int64_t index, int worker) {
      for (std::int64_t i = index, end = small ? count() : index + 1; i < end; ++i)
        body(tile(i), worker);
    });
  }

  /// Neighbours in this order share columns, that is, B.
  STAGEWRIGHT_INLINE MatrixTile tile(std::int64_t index) const {
    const Range panels = part(ceilDivide(columns, kPanel), columnTiles, index / rowTiles);
    return {part(rows, rowTiles, index % rowTiles),
            {panels.begin * kPanel, least(columns, panels.end * kPanel)}};
  }
};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
