// How attention is cut into blocks of queries and keys, by the shape alone, and the products of blocks.
#ifndef STAGEWRIGHT_KERNELS_HOST_ATTENTIONTILES_H
#define STAGEWRIGHT_KERNELS_HOST_ATTENTIONTILES_H

#include "kernels/host/Math16.h"
#include "kernels/host/MatrixTiles.h"
#include "kernels/host/Philox16.h"
#include "kernels/host/Rows.h"
#include "kernels/host/Transpose.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// Causal: rows of a block of scores that have their end of keys in common. What no row of them sees is not
/// computed. Not a size of registers, because what is skipped must not depend on the instruction set: a
/// product of zero and infinity is not zero.
inline constexpr std::int64_t kCausalRows = 32;

/// Sizes and attributes of one call.
struct AttentionShape {
  std::int64_t batch, queries, heads, keys, keyHeads, width;
  bool causal;
  float scale;
  std::int64_t queryBlock, keyBlock;
  std::int64_t stride;      ///< floats between the rows of a block of q, k, v or y in scratch
  std::int64_t scoreStride; ///< and of scores
  const std::int32_t *keyMask = nullptr;

  /// `q` and `k` are operand numbers.
  STAGEWRIGHT_INLINE AttentionShape(const Call &call, int q, int k)
      : batch(call.size(q, 0)), queries(call.size(q, 1)), heads(call.size(q, 2)), keys(call.size(k, 1)),
        keyHeads(call.size(k, 2)), width(call.size(q, 3)), causal(call.integers[0] != 0),
        scale(float(call.reals[1])) {
    if (scale == 0)
      scale = 1.0f / squareRoot(splat(float(width)))[0];
    queryBlock = width <= 128 ? 128 : width <= 256 ? 64 : 32;
    keyBlock = width <= 256 ? 128 : 64;
    stride = ceilDivide(width, kPanel) * kPanel + kLanes; // no power of two: see kBadStride in Linear.cpp
    scoreStride = keyBlock + kLanes;
  }

  STAGEWRIGHT_INLINE std::int64_t queryBlocks() const { return ceilDivide(queries, queryBlock); }
  STAGEWRIGHT_INLINE std::int64_t keyBlocks() const { return ceilDivide(keys, keyBlock); }
  STAGEWRIGHT_INLINE Range queriesOf(std::int64_t i) const {
    return {i * queryBlock, least(queries, (i + 1) * queryBlock)};
  }
  STAGEWRIGHT_INLINE Range keysOf(std::int64_t i) const {
    return {i * keyBlock, least(keys, (i + 1) * keyBlock)};
  }
  /// Calls body(index, worker) for each piece of the work, on the calling thread when all of it is small.
  template <typename Body>
  STAGEWRIGHT_INLINE void runPieces(TileRunner &runner, std::int64_t pieces, const Body &body) const {
    constexpr std::int64_t kMostTiles = 1 << 20;
    const bool isSmall =
        double(batch * heads * queries) * double(keys) * double(width) <= double(kSmallProduct);
    const std::int64_t tiles = isSmall ? 1 : least(pieces, kMostTiles);
    runTiles(runner, tiles, [&](std::int64_t index, int worker) {
      const Range range = part(pieces, tiles, index);
      for (std::int64_t piece = range.begin; piece < range.end; ++piece)
        body(piece, worker);
    });
  }
  /// Element of q or y where row (b, s, h) starts, of k or v where row (b, l, g) starts.
  STAGEWRIGHT_INLINE std::int64_t queryRow(std::int64_t b, std::int64_t s, std::int64_t h) const {
    return ((b * queries + s) * heads + h) * width;
  }
  STAGEWRIGHT_INLINE std::int64_t keyRow(std::int64_t b, std::int64_t l, std::int64_t g) const {
    return ((b * keys + l) * keyHeads + g) * width;
  }
  STAGEWRIGHT_INLINE std::int64_t scoreRow(std::int64_t b, std::int64_t h, std::int64_t s) const {
    return (b * heads + h) * queries + s;
  }
  /// The number of a row's first element among the random ones: rows are padded to 64.
  STAGEWRIGHT_INLINE std::int64_t randomRow(std::int64_t b, std::int64_t h, std::int64_t s) const {
    return scoreRow(b, h, s) * ceilDivide(keys, 4 * kLanes) * 4 * kLanes;
  }

  /// Calls body(rows, end) for the rows of a block of scores that have a common end of keys; rows and end are
  /// relative to the block's first query and key.
  template <typename Body>
  STAGEWRIGHT_INLINE void eachRows(Range queryRange, Range keyRange, const Body &body) const {
    const std::int64_t step = causal ? kCausalRows : queryRange.size();
    for (std::int64_t begin = 0; begin < queryRange.size(); begin += step) {
      const Range rows{begin, least(queryRange.size(), begin + step)};
      const std::int64_t end =
          causal ? least(keyRange.size(), queryRange.begin + rows.end - keyRange.begin) : keyRange.size();
      if (end > 0)
        body(rows, end);
    }
  }
  /// The last key of the block that query `row` sees, both relative to the block.
  STAGEWRIGHT_INLINE std::int64_t lastKey(Range queryRange, Range keyRange, std::int64_t row) const {
    return causal ? least(keyRange.size() - 1, queryRange.begin + row - keyRange.begin) : keyRange.size() - 1;
  }
};

/// Pieces of a worker's scratch, one after the other, each at a line of the cache.
struct Scratch {
  float *next;

  STAGEWRIGHT_INLINE float *take(std::int64_t floats) {
    float *const piece = next;
    next += ceilDivide(floats, kLanes) * kLanes;
    return piece;
  }
};

template <typename From, typename To>
STAGEWRIGHT_INLINE void copyRows(const From *from, std::int64_t fromStride, std::int64_t rows,
                                 std::int64_t width, To *to, std::int64_t toStride) {
  for (std::int64_t row = 0; row < rows; ++row)
    eachVector({0, width}, [&](std::int64_t i, auto lanes) {
      write(to + row * toStride + i, read(from + row * fromStride + i, lanes), lanes);
    });
}

/// The rows as columns: to[panel of 32 rows][element][32]. Columns without a row are zero.
template <typename T>
STAGEWRIGHT_INLINE void transposeRows(const T *from, std::int64_t fromStride, std::int64_t rows,
                                      std::int64_t width, float *to) {
  for (std::int64_t row = 0; row < rows; row += kLanes)
    for (std::int64_t column = 0; column < width; column += kLanes) {
      const std::int64_t count = least(kLanes, width - column);
      Vec16 block[kLanes] = {};
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        if (row + i < rows)
          block[i] = loadFirst(from + (row + i) * fromStride + column, count);
      transpose(block);
      float *const panel = to + row / kPanel * kPanel * width + row % kPanel;
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        if (i < count)
          store(panel + (column + i) * kPanel, block[i]);
    }
}

/// c[rows, columns] = a b, from zero or from c: one chain per element over the depth.
struct BlockProduct {
  const float *a; ///< element (row, step) is a[row * aRow + step * aStep]
  std::int64_t aRow, aStep;
  const float *b; ///< panel p, row `step` is b[p * bPanel + step * bStep ...]
  std::int64_t bStep, bPanel;
  std::int64_t depth;
  float *c;
  std::int64_t cRow;
  Chain chain;
};

inline void multiply(const BlockProduct &product, std::int64_t rows, std::int64_t columns) {
  const std::int64_t blocks = ceilDivide(rows, kBlockRows);
  for (std::int64_t block = 0; block < blocks; ++block) {
    const Range range = part(rows, blocks, block);
    for (std::int64_t column = 0; column < columns; column += kPanel) {
      float *const c = product.c + range.begin * product.cRow + column;
      multiplyPanel<false>({.a = product.a + range.begin * product.aRow,
                            .aRow = product.aRow,
                            .aStep = product.aStep,
                            .b = product.b + column / kPanel * product.bPanel,
                            .bStep = product.bStep,
                            .depth = product.depth,
                            .c = c,
                            .cRow = product.cRow,
                            .nextC = c + kPanel,
                            .chain = product.chain},
                           range.size(), least(kPanel, columns - column));
    }
  }
}

/// The keys of a block that may be seen, from the call's mask; null when there is none.
STAGEWRIGHT_INLINE const std::int32_t *visibleKeys(const AttentionShape &shape, std::int64_t b,
                                                   Range keyRange, std::int32_t *to) {
  if (!shape.keyMask)
    return nullptr;
  for (std::int64_t i = 0; i < keyRange.size(); ++i)
    to[i] = shape.keyMask[b * shape.keys + keyRange.begin + i];
  return to;
}

/// -1 in the lanes of keys from `first` on that a row does not see.
STAGEWRIGHT_INLINE Bits16 hiddenKeys(const std::int32_t *visible, std::int64_t first, std::int64_t last) {
  const Bits16 hidden = kLaneNumbers > std::int32_t(last - first);
  return visible ? hidden | (loadAs<Bits16>(visible + first) == 0) : hidden;
}

/// Calls body(i, kept) for the vectors of a row of `end` scores; kept: -1 where dropout keeps. `element`: the
/// number of the row's first element among the random ones.
template <bool kDropout, typename Body>
STAGEWRIGHT_INLINE void eachScores(std::int64_t end, const DropoutBits &bits, std::int64_t element,
                                   const Body &body) {
  for (std::int64_t group = 0; group < end; group += 4 * kLanes) {
    Bits16 kept[4] = {};
    if constexpr (kDropout)
      bits.kept(element + group, kept);
#pragma GCC unroll 4
    for (int vector = 0; vector < 4; ++vector)
      if (group + vector * kLanes < end)
        body(group + vector * kLanes, kept[vector]);
  }
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
