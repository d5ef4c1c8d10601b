// Family matmul: products of two activations. As linear, but the right matrix is packed tile by tile, in
// scratch.
#include "kernels/host/MatrixTiles.h"
#include "kernels/host/Transpose.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

// Scratch of a worker: a chunk of the tile's panels of b, then [block rows][kSlabStride] or
// [chunk][kLeftStep] of a, then a tile of results.
constexpr std::int64_t kPanelFloats = kTilePanels * kPanel * kMaxChunk;
constexpr std::int64_t kLeftFloats = kLanes * kSlabStride;
static_assert((kPanelFloats + kLeftFloats + kResultFloats) * sizeof(float) <= kTileScratchBytes);
static_assert(kBlockRows <= kLanes && kLeftStep == kLanes);

/// y[batches, rows, columns] = a b. StepsFirst: the matrix is stored with the steps of the depth outermost.
template <typename T, bool StepsFirstA, bool StepsFirstB>
struct MatrixProduct {
  const T *a, *b;
  T *y;
  std::int64_t rows, depth, columns;

  void packRight(const T *from, Range columnRange, Range steps, float *right) const {
    for (std::int64_t column = columnRange.begin; column < columnRange.end; column += kPanel) {
      const std::int64_t width = least(kPanel, columnRange.end - column);
      float *const panel = right + (column - columnRange.begin) * steps.size();
      if constexpr (StepsFirstB) {
        for (std::int64_t step = steps.begin; step < steps.end; ++step)
          packPanelRow(from + step * columns + column, width, panel + (step - steps.begin) * kPanel);
      } else {
        for (std::int64_t half = 0; half < kPanel; half += kLanes)
          for (std::int64_t step = steps.begin; step < steps.end; step += kLanes)
            transpose(from + (column + half) * depth + step, depth, width - half, steps.end - step,
                      panel + (step - steps.begin) * kPanel + half, kPanel, [](Vec16 v) { return v; });
      }
    }
  }

  /// The block of a as a product reads it: sets a, aRow and aStep.
  void prepareLeft(const T *from, Range rowRange, Range steps, std::int64_t panels, float *left,
                   Product &product) const {
    product.a = left;
    if constexpr (StepsFirstA) {
      product.aRow = 1;
      product.aStep = kLeftStep;
      for (std::int64_t step = 0; step < steps.size(); ++step)
        store(left + step * kLeftStep,
              loadFirst(from + (steps.begin + step) * rows + rowRange.begin, rowRange.size()));
      return;
    }
    const T *const first = from + rowRange.begin * depth + steps.begin;
    product.aStep = 1;
    if constexpr (kIsFloat<T>)
      if (depth % kBadStride != 0 || panels == 1) {
        product.a = first;
        product.aRow = depth;
        return;
      }
    product.aRow = kSlabStride;
    for (std::int64_t row = 0; row < rowRange.size(); ++row)
      copyRow(first + row * depth, left + row * kSlabStride, steps.size());
  }

  void runTile(std::int64_t batch, const MatrixTile &tile, float *scratch) const {
    const std::int64_t chunk = chunkLength(depth), blocks = ceilDivide(tile.rows.size(), kBlockRows);
    const std::int64_t panels = ceilDivide(tile.columns.size(), kPanel);
    float *const left = scratch + kPanelFloats;
    T *const out = y + (batch * rows + tile.rows.begin) * columns + tile.columns.begin;
    float *c = left + kLeftFloats;
    std::int64_t cRow = kResultStride;
    if constexpr (kIsFloat<T>) {
      c = out;
      cRow = columns;
    }
    for (std::int64_t begin = 0; begin < depth; begin += chunk) {
      const Range steps{begin, least(depth, begin + chunk)};
      packRight(b + batch * depth * columns, tile.columns, steps, scratch);
      for (std::int64_t block = 0; block < blocks; ++block) {
        const Range own = part(tile.rows.size(), blocks, block);
        Product product{.bStep = kPanel,
                        .depth = steps.size(),
                        .cRow = cRow,
                        .chain = begin == 0 ? Chain::Start : Chain::Partial};
        prepareLeft(a + batch * rows * depth, {tile.rows.begin + own.begin, tile.rows.begin + own.end}, steps,
                    panels, left, product);
        for (std::int64_t panel = 0; panel < panels; ++panel) {
          product.b = scratch + panel * kPanel * steps.size();
          product.c = c + own.begin * cRow + panel * kPanel;
          product.nextC = product.c + kPanel;
          multiplyPanel<false>(product, own.size(), least(kPanel, tile.columns.size() - panel * kPanel));
        }
      }
    }
    for (std::int64_t row = 0; !kIsFloat<T> && row < tile.rows.size(); ++row)
      copyRow(c + row * cRow, out + row * columns, tile.columns.size());
  }

  void run(std::int64_t batches, TileRunner &runner) const {
    const MatrixTiles tiles(rows, columns, depth);
    // Small products: as many in one tile as are as much work as the smallest one that is spread.
    const std::int64_t together = tiles.small ? kSmallProduct / (rows * columns * depth) : 1;
    const std::int64_t groups = ceilDivide(batches, together), ofGroup = tiles.small ? 1 : tiles.count();
    runTiles(runner, groups * ofGroup, [&](std::int64_t index, int worker) {
      const Range range{index / ofGroup * together, least(batches, (index / ofGroup + 1) * together)};
      const std::int64_t first = tiles.small ? 0 : index % ofGroup,
                         end = tiles.small ? tiles.count() : first + 1;
      for (std::int64_t batch = range.begin; batch < range.end; ++batch)
        for (std::int64_t i = first; i < end; ++i)
          runTile(batch, tiles.tile(i), static_cast<float *>(runner.scratch(worker)));
    });
  }
};

template <typename T, bool StepsFirstA, bool StepsFirstB>
void product(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const MatrixProduct<T, StepsFirstA, StepsFirstB> product{.a = static_cast<const T *>(operands[0]),
                                                           .b = static_cast<const T *>(operands[1]),
                                                           .y = static_cast<T *>(operands[2]),
                                                           .rows = call.size(2, 1),
                                                           .depth = call.size(0, StepsFirstA ? 1 : 2),
                                                           .columns = call.size(2, 2)};
  product.run(call.size(2, 0), runner);
}

template <typename T>
void matmul(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  product<T, false, true>(call, operands, workspace, runner);
}
template <typename T>
void matmulNT(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  product<T, false, false>(call, operands, workspace, runner);
}
template <typename T>
void matmulTN(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  product<T, true, true>(call, operands, workspace, runner);
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("matmul", 1, matmul),
                               STAGEWRIGHT_FOR_ELEMENTS("matmul_nt", 1, matmulNT),
                               STAGEWRIGHT_FOR_ELEMENTS("matmul_tn", 1, matmulTN)};

} // namespace

extern const Family MatMul = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
