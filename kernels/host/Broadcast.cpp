// Family broadcast: repeat elements over dimensions, and sum over what was repeated.
#include "kernels/host/Strides.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

template <typename T>
void expand(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  const Vec16 scale = splat(float(call.reals[0]));
  Strides source = broadcast(call.operands[0], call.operands[1]);
  std::int64_t length = 1, stride = 1; // stride: 1, or 0 where rows repeat one element
  source.takeInner(length, stride);
  runElements(runner, call.elements(1), [&](Range range) {
    const Range rows{range.begin / length, ceilDivide(range.end, length)};
    source.each(rows, [&](std::int64_t row, std::int64_t offset) {
      const Range columns{row == rows.begin ? range.begin - row * length : 0,
                          least(length, range.end - row * length)};
      const Vec16 value = stride == 0 ? splat(readOne(x + offset)) * scale : Vec16{};
      eachVector(columns, [&](std::int64_t i, auto lanes) {
        write(y + row * length + i, stride == 0 ? value : read(x + offset + i, lanes) * scale, lanes);
      });
    });
  });
}

/// Columns of one strip of sums over rows.
constexpr int kStripVectors = 4;

/// A sum over some dimensions of x: `kept` and `summed` together are its dimensions; the innermost one is
/// taken out of the list that it belongs to. All sums are in fp64.
template <typename T>
struct Sum {
  const T *x;
  T *y;
  double scale;
  Strides kept, summed;
  std::int64_t length = 1; ///< of the innermost dimension
  bool sumsRows = false;   ///< the innermost dimension is summed over

  STAGEWRIGHT_INLINE void put(std::int64_t i, double sum) const { writeOne(y + i, float(sum * scale)); }

  /// Sixteen lanes along the row, which all the rows of one sum share, in order; then the tree.
  STAGEWRIGHT_INLINE double sumOf(std::int64_t base, Range part) const {
    Double16 sum{};
    summed.each({0, summed.elements()}, [&](std::int64_t, std::int64_t offset) {
      eachVector(part, [&](std::int64_t i, auto lanes) { sum += widen(read(x + base + offset + i, lanes)); });
    });
    return sumLanes(sum);
  }

  void rows(double *partials, std::int64_t elements, TileRunner &runner) const {
    const std::int64_t sums = kept.elements(), granules = ceilDivide(length, kElementsPerTile);
    if (summed.rank > 0 || granules == 1) {
      const std::int64_t tiles = least(sums, elementTiles(elements));
      runTiles(runner, tiles, [&](std::int64_t index, int) {
        kept.each(part(sums, tiles, index), [&](std::int64_t i, std::int64_t base) {
          put(i, sumOf(base, {0, length}));
        });
      });
      return;
    }
    // Long rows: granules, added in order.
    const std::int64_t pieces = sums * granules, tiles = least(pieces, elementTiles(elements));
    runTiles(runner, tiles, [&](std::int64_t index, int) {
      const Range range = part(pieces, tiles, index);
      for (std::int64_t piece = range.begin; piece < range.end; ++piece) {
        const std::int64_t begin = piece % granules * kElementsPerTile;
        partials[piece] =
            sumOf(kept.offset(piece / granules), {begin, least(length, begin + kElementsPerTile)});
      }
    });
    for (std::int64_t i = 0; i < sums; ++i) {
      double sum = 0;
      for (std::int64_t granule = 0; granule < granules; ++granule)
        sum += partials[i * granules + granule];
      put(i, sum);
    }
  }

  /// Each column is one chain of additions, in the order of x.
  template <int Vectors, typename Lanes>
  STAGEWRIGHT_INLINE void addStrip(const T *from, T *to, Lanes lanes) const {
    Double16 sums[Vectors] = {};
    summed.each({0, summed.elements()}, [&](std::int64_t, std::int64_t offset) {
#pragma GCC unroll 4
      for (int i = 0; i < Vectors; ++i)
        sums[i] += widen(read(from + offset + i * kLanes, lanes));
    });
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; ++i)
      write(to + i * kLanes, __builtin_convertvector(sums[i] * scale, Vec16), lanes);
  }

  void columns(std::int64_t elements, TileRunner &runner) const {
    constexpr std::int64_t kWide = kStripVectors * kLanes;
    const std::int64_t width = kept.elements() * ceilDivide(length, kWide) < 4 ? kLanes : kWide;
    const std::int64_t strips = ceilDivide(length, width), pieces = kept.elements() * strips;
    const std::int64_t tiles = least(pieces, elementTiles(elements));
    runTiles(runner, tiles, [&](std::int64_t index, int) {
      const Range range = part(pieces, tiles, index);
      for (std::int64_t piece = range.begin; piece < range.end; ++piece) {
        const std::int64_t group = piece / strips, begin = piece % strips * width;
        const T *const from = x + kept.offset(group);
        T *const to = y + group * length;
        if (width == kWide && begin + kWide <= length)
          addStrip<kStripVectors>(from + begin, to + begin, AllLanes{});
        else
          eachVector({begin, least(length, begin + width)},
                     [&](std::int64_t i, auto lanes) { addStrip<1>(from + i, to + i, lanes); });
      }
    });
  }
};

template <typename T>
void reduceSum(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  Sum<T> sum{static_cast<const T *>(operands[0]), static_cast<T *>(operands[1]), call.reals[0], {}, {}};
  // The dimensions of x with the strides of y: 0 where it sums.
  const Strides dimensions = broadcast(call.operands[1], call.operands[0]);
  std::int64_t stride = 1, strides[8] = {};
  for (int i = dimensions.rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= dimensions.sizes[i];
  }
  const int last = dimensions.rank - 1;
  for (int i = 0; i < last; ++i)
    (dimensions.strides[i] == 0 ? sum.summed : sum.kept).add(dimensions.sizes[i], strides[i]);
  if (last >= 0) {
    sum.length = dimensions.sizes[last];
    sum.sumsRows = dimensions.strides[last] == 0;
  }
  if (sum.sumsRows)
    sum.rows(static_cast<double *>(workspace), call.elements(0), runner);
  else
    sum.columns(call.elements(0), runner);
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("expand", 1, expand),
                               STAGEWRIGHT_FOR_ELEMENTS("reduce_sum", 1, reduceSum)};

} // namespace

extern const Family Broadcast = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
