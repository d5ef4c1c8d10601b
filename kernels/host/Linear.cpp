// Family linear: the products of y = x W^T + b and of its two gradients. docs/kernels.md has the rules.
#include "kernels/host/MatrixTiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

constexpr std::int64_t kWeightGradChunk = 256;
// Scratch of a worker.
//   products with a packed matrix:  [block rows][kSlabStride] of the left matrix, then a tile of results
//   weight gradient:                [panel][chunk][32] of x, then [chunk][kLeftStep] of a block of g
static_assert((kBlockRows * kSlabStride + kResultFloats) * sizeof(float) <= kTileScratchBytes);
static_assert((kTilePanels * kPanel + kLeftStep) * kWeightGradChunk * sizeof(float) <= kTileScratchBytes);

/// Fetches part `index` of `parts` of a [rows, length] piece of a matrix into the second-level cache.
template <typename T>
void fetchPart(const T *from, std::int64_t stride, std::int64_t rows, std::int64_t length, std::int64_t parts,
               std::int64_t index) {
  constexpr std::int64_t kLine = 64 / sizeof(T);
  const std::int64_t lines = ceilDivide(length, kLine);
  const Range range = part(rows * lines, parts, index);
  for (std::int64_t line = range.begin; line < range.end; ++line)
    __builtin_prefetch(from + line / lines * stride + line % lines * kLine, 0, 2);
}

/// out[rows, columns] = left[rows, depth] times a packed matrix, plus bias.
template <typename T>
struct PackedProduct {
  const T *left;
  const float *packed, *bias;
  T *out;
  std::int64_t depth, columns;

  void runTile(const MatrixTile &tile, float *slab) const {
    const std::int64_t chunk = chunkLength(depth), blocks = ceilDivide(tile.rows.size(), kBlockRows);
    // Element (0, 0) of the whole result, of which the tile is there.
    float *c = slab + kBlockRows * kSlabStride - tile.rows.begin * kResultStride - tile.columns.begin;
    std::int64_t cRow = kResultStride;
    if constexpr (kIsFloat<T>) {
      c = out;
      cRow = columns;
    }
    for (std::int64_t begin = 0; begin < depth; begin += chunk)
      for (std::int64_t block = 0; block < blocks; ++block) {
        const Range rows = part(tile.rows.size(), blocks, block);
        runBlock({tile.rows.begin + rows.begin, tile.rows.begin + rows.end}, tile.columns,
                 {begin, least(depth, begin + chunk)}, slab, c, cRow);
      }
    for (std::int64_t row = tile.rows.begin; !kIsFloat<T> && row < tile.rows.end; ++row)
      copyRow(c + row * cRow + tile.columns.begin, out + row * columns + tile.columns.begin,
              tile.columns.size());
  }

  /// One block of rows and one chunk of the depth.
  void runBlock(Range rows, Range columnRange, Range steps, float *slab, float *result,
                std::int64_t cRow) const {
    const std::int64_t panels = ceilDivide(columnRange.size(), kPanel),
                       padded = ceilDivide(columns, kPanel) * kPanel;
    const bool copy = !kIsFloat<T> || (depth % kBadStride == 0 && panels > 1);
    const T *const a = left + rows.begin * depth + steps.begin;
    const float *from = slab;
    if (copy)
      for (std::int64_t row = 0; row < rows.size(); ++row)
        copyRow(a + row * depth, slab + row * kSlabStride, steps.size());
    if constexpr (kIsFloat<T>)
      from = copy ? slab : a;
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      const std::int64_t column = columnRange.begin + panel * kPanel;
      float *const c = result + rows.begin * cRow + column;
      if (copy) // the next block's rows, for its copy
        fetchPart(a + rows.size() * depth, depth, rows.size(), steps.size(), panels, panel);
      multiplyPanel<false>({.a = from,
                            .aRow = copy ? kSlabStride : depth,
                            .aStep = 1,
                            .b = packed + steps.begin * padded + column * steps.size(),
                            .bStep = kPanel,
                            .depth = steps.size(),
                            .c = c,
                            .cRow = cRow,
                            .nextC = c + kPanel,
                            .chain = steps.begin == 0 ? Chain::Start : Chain::Partial,
                            .bias = bias && steps.end == depth ? bias + column : nullptr},
                           rows.size(), least(kPanel, columnRange.end - column));
    }
  }

  void run(std::int64_t rows, TileRunner &runner) const {
    MatrixTiles(rows, columns, depth).run(runner, [&](const MatrixTile &tile, int worker) {
      runTile(tile, static_cast<float *>(runner.scratch(worker)));
    });
  }
};

/// linear and linear_input_grad; the latter has no fourth operand.
template <typename T>
void packedProduct(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const PackedProduct<T> product{.left = static_cast<const T *>(operands[0]),
                                 .packed = static_cast<const float *>(operands[1]),
                                 .bias = call.operands[3].present ? static_cast<const float *>(operands[3])
                                                                  : nullptr,
                                 .out = static_cast<T *>(operands[2]),
                                 .depth = call.size(0, 1),
                                 .columns = call.size(2, 1)};
  product.run(call.size(0, 0), runner);
}

/// acc[outputs, inputs] += g[tokens, outputs]^T x[tokens, inputs]: one chain over all tokens, from acc.
template <typename T>
struct WeightGrad {
  const T *g, *x;
  float *acc;
  std::int64_t tokens, outputs, inputs;

  void runTile(const MatrixTile &tile, float *right) const {
    const std::int64_t blocks = ceilDivide(tile.rows.size(), kBlockRows);
    float *const left = right + kTilePanels * kPanel * kWeightGradChunk;
    for (std::int64_t begin = 0; begin < tokens; begin += kWeightGradChunk) {
      const std::int64_t length = least(kWeightGradChunk, tokens - begin);
      for (std::int64_t block = 0; block < blocks; ++block) {
        const Range rows = part(tile.rows.size(), blocks, block);
        const std::int64_t row = tile.rows.begin + rows.begin;
        for (std::int64_t column = tile.columns.begin; column < tile.columns.end; column += kPanel) {
          // The first block packs the tile's part of x for the others, the first panel packs its block of g.
          const bool directB = block == 0, directA = column == tile.columns.begin;
          const std::int64_t width = least(kPanel, tile.columns.end - column);
          float *const panel = right + (column - tile.columns.begin) * length;
          Product product{.a = left,
                          .aRow = 1,
                          .aStep = kLeftStep,
                          .b = panel,
                          .bStep = kPanel,
                          .depth = length,
                          .c = acc + row * inputs + column,
                          .cRow = inputs,
                          .nextC = acc + row * inputs + column + kPanel,
                          .chain = Chain::Continue,
                          .packedA = left,
                          .packedB = panel};
          if constexpr (kIsFloat<T>) {
            if (directA) {
              product.a = g + begin * outputs + row;
              product.aStep = outputs;
            }
            if (directB) {
              product.b = x + begin * inputs + column;
              product.bStep = inputs;
            }
            if (directA || directB) {
              multiplyPanel<true>(product, rows.size(), width);
              continue;
            }
          } else {
            for (std::int64_t step = 0; directA && step < length; ++step)
              store(left + step * kLeftStep, loadFirst(g + (begin + step) * outputs + row, rows.size()));
            for (std::int64_t step = 0; directB && step < length; ++step)
              packPanelRow(x + (begin + step) * inputs + column, width, panel + step * kPanel);
          }
          multiplyPanel<false>(product, rows.size(), width);
        }
      }
    }
  }
};

template <typename T>
void linearWeightGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const WeightGrad<T> grad{.g = static_cast<const T *>(operands[0]),
                           .x = static_cast<const T *>(operands[1]),
                           .acc = static_cast<float *>(operands[2]),
                           .tokens = call.size(0, 0),
                           .outputs = call.size(0, 1),
                           .inputs = call.size(1, 1)};
  MatrixTiles(grad.outputs, grad.inputs, grad.tokens).run(runner, [&](const MatrixTile &tile, int worker) {
    grad.runTile(tile, static_cast<float *>(runner.scratch(worker)));
  });
}

constexpr std::int64_t kBiasTileColumns = 4 * kLanes;

/// acc[columns] += g[rows, columns]: each column is one chain of additions over the rows, from acc.
template <typename T>
void addRows(const T *g, float *acc, std::int64_t rows, std::int64_t columns, Range range) {
  std::int64_t column = range.begin;
  for (; column + kBiasTileColumns <= range.end; column += kBiasTileColumns) {
    Vec16 sums[kBiasTileColumns / kLanes];
    eachRegister<1, kBiasTileColumns / kLanes>(
        [&](int, int i) { sums[i] = load(acc + column + i * kLanes); });
    for (std::int64_t row = 0; row < rows; ++row)
      eachRegister<1, kBiasTileColumns / kLanes>(
          [&](int, int i) { sums[i] = sums[i] + load(g + row * columns + column + i * kLanes); });
    eachRegister<1, kBiasTileColumns / kLanes>(
        [&](int, int i) { store(acc + column + i * kLanes, sums[i]); });
  }
  eachVector({column, range.end}, [&](std::int64_t i, auto lanes) {
    Vec16 sum = read(acc + i, lanes);
    for (std::int64_t row = 0; row < rows; ++row)
      sum = sum + read(g + row * columns + i, lanes);
    write(acc + i, sum, lanes);
  });
}

template <typename T>
void biasGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]);
  float *const acc = static_cast<float *>(operands[1]);
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const std::int64_t tiles = elementTiles(rows * columns) == 1 ? 1 : ceilDivide(columns, kBiasTileColumns);
  const std::int64_t width = tiles == 1 ? columns : kBiasTileColumns;
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    addRows(g, acc, rows, columns, {index * width, least(columns, (index + 1) * width)});
  });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("linear", 1, packedProduct),
                               STAGEWRIGHT_FOR_ELEMENTS("linear_input_grad", 1, packedProduct),
                               STAGEWRIGHT_FOR_ELEMENTS("linear_weight_grad", 1, linearWeightGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("bias_grad", 1, biasGrad)};

} // namespace

extern const Family Linear = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
