// The register kernel of the matrix products: Rows x (16 * Vectors) elements of C in registers. Every element
// is one FMA chain in the order of the depth, so the block's size, which differs between instruction sets,
// cannot change a bit.
#ifndef STAGEWRIGHT_KERNELS_HOST_MICROKERNEL_H
#define STAGEWRIGHT_KERNELS_HOST_MICROKERNEL_H

#include "kernels/host/Tiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// Columns of a panel of B: its layout is [depth][32].
inline constexpr int kPanel = 32;

#if defined(__AVX512F__)
// 32 registers: 28 accumulators, 2 of B, 1 of A.
inline constexpr int kBlockRows = 14, kBlockVectors = 2;
#else
// AVX2, 16 registers: 12 accumulators, 2 of B, 1 of A.
inline constexpr int kBlockRows = 6, kBlockVectors = 1;
#endif

/// Steps of the depth that B is fetched ahead of its use, and A and B when they come from afar.
inline constexpr int kPrefetchSteps = 8, kFarPrefetchSteps = 16;
/// Floats between the steps of a packed block of A.
inline constexpr int kLeftStep = kLanes;

/// How a chain starts, and what becomes of its end.
enum class Chain {
  Start,    ///< from zero
  Continue, ///< from C
  Partial   ///< from zero; the end is added to C
};

struct Product {
  const float *a; ///< element (row, step) is a[row * aRow + step * aStep]
  std::int64_t aRow, aStep;
  const float *b; ///< row `step` is b[step * bStep ...]
  std::int64_t bStep;
  std::int64_t depth;
  float *c; ///< row-major
  std::int64_t cRow;
  const float *nextC; ///< where the next call will read and write: fetched meanwhile
  Chain chain = Chain::Start;
  const float *bias = nullptr; ///< added to each row at the end, or null
  float *packedA = nullptr;    ///< Pack: gets [depth][kLeftStep] of A; aRow is 1
  float *packedB = nullptr;    ///< Pack: gets [depth][32] of B
};

/// Calls body(row, vector) for each register of the block, unrolled, so that the block stays in registers.
template <int Rows, int Vectors, typename Body>
STAGEWRIGHT_INLINE void eachRegister(const Body &body) {
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int vector = 0; vector < Vectors; ++vector)
      body(row, vector);
}

/// Pack: A and B are copied to a better place on the way. They may be in that place already.
template <int Rows, int Vectors, bool Pack>
void multiplyBlock(const Product &product, int columns) {
  float *const c = product.c;
  const float *b = product.b, *const bias = product.bias;
  const std::int64_t aRow = product.aRow, aStep = product.aStep, bStep = product.bStep, cRow = product.cRow;
  const std::int64_t depth = product.depth;
  float *const packedA = product.packedA, *const packedB = product.packedB;
  const Chain chain = product.chain;
  // Columns of the last vector; the other is whole. Absent columns are computed like the rest, not stored.
  const int last = columns - (Vectors - 1) * kLanes;
  const bool whole = last == kLanes;
  const auto read = [=](const float *from, int vector) __attribute__((always_inline)) {
    return vector < Vectors - 1 || whole ? load(from + vector * kLanes)
                                         : loadFirst(from + vector * kLanes, last);
  };
  // One pointer for three rows: an address has room for once and twice the distance of rows.
  constexpr int kGroups = (Rows + 2) / 3;
  const float *groups[kGroups];
#pragma GCC unroll 8
  for (int group = 0; group < kGroups; ++group)
    groups[group] = product.a + 3 * group * aRow;

  Vec16 sums[Rows][Vectors] = {};
  if (chain == Chain::Continue)
    eachRegister<Rows, Vectors>(
        [&](int row, int vector) { sums[row][vector] = read(c + row * cRow, vector); });
  eachRegister<Rows, Vectors>(
      [&](int row, int vector) { __builtin_prefetch(product.nextC + row * cRow + vector * kLanes, 1); });

  for (std::int64_t step = 0; step < depth; ++step, b += bStep) {
    Vec16 right[Vectors];
    if constexpr (Pack) {
      __builtin_prefetch(groups[0] + kFarPrefetchSteps * aStep);
      __builtin_prefetch(groups[0] + kFarPrefetchSteps * aStep + Rows - 1);
      store(packedA + step * kLeftStep, loadFirst(groups[0], Rows));
    }
#pragma GCC unroll 2
    for (int vector = 0; vector < Vectors; ++vector) {
      __builtin_prefetch(b + (Pack ? kFarPrefetchSteps : kPrefetchSteps) * bStep + vector * kLanes);
      right[vector] = Pack ? read(b, vector) : load(b + vector * kLanes);
      if constexpr (Pack)
        store(packedB + step * kPanel + vector * kLanes, right[vector]);
    }
    eachRegister<Rows, Vectors>([&](int row, int vector) {
      sums[row][vector] = fma(splat(groups[row / 3][row % 3 * aRow]), right[vector], sums[row][vector]);
    });
#pragma GCC unroll 8
    for (int group = 0; group < kGroups; ++group)
      groups[group] += aStep;
  }

  if (chain == Chain::Partial)
    eachRegister<Rows, Vectors>(
        [&](int row, int vector) { sums[row][vector] = read(c + row * cRow, vector) + sums[row][vector]; });
  if (bias)
    eachRegister<Rows, Vectors>(
        [&](int row, int vector) { sums[row][vector] = sums[row][vector] + read(bias, vector); });
  eachRegister<Rows, Vectors>([&](int row, int vector) {
    float *const to = c + row * cRow + vector * kLanes;
    if (vector < Vectors - 1 || whole)
      store(to, sums[row][vector]);
    else
      storeFirst(to, sums[row][vector], last);
  });
}

using MultiplyBlock = void (*)(const Product &product, int columns);

template <int Rows, bool Pack>
STAGEWRIGHT_INLINE MultiplyBlock blockOfRows(std::int64_t rows, int vectors) {
  if constexpr (Rows == 0)
    return nullptr;
  else if (rows != Rows)
    return blockOfRows<Rows - 1, Pack>(rows, vectors);
  else
    return vectors == 1 ? multiplyBlock<Rows, 1, Pack> : multiplyBlock<Rows, kBlockVectors, Pack>;
}

/// C[rows, columns] of one panel: rows up to kBlockRows, columns up to 32.
template <bool Pack>
STAGEWRIGHT_INLINE void multiplyPanel(Product product, std::int64_t rows, std::int64_t columns) {
  while (columns > 0) {
    const int width = int(least(columns, kBlockVectors * kLanes));
    blockOfRows<kBlockRows, Pack>(rows, width > kLanes ? 2 : 1)(product, width);
    product.b += width;
    product.c += width;
    product.bias = product.bias ? product.bias + width : nullptr;
    product.packedB = Pack ? product.packedB + width : nullptr;
    columns -= width;
  }
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
