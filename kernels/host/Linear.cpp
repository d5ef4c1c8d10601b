// Family linear: the products of y = x W^T + b and of its two gradients. docs/kernels.md has the rules.
#include "kernels/host/MatrixTiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

constexpr std::int64_t kWeightGradChunk = 256;
/// Rows of the left matrix whose distance is a multiple of this many floats share one set of the first-level
/// cache: a block of them is copied to a slab, where their distance is another one.
constexpr std::int64_t kBadStride = 1024;
constexpr std::int64_t kSlabStride = kMaxChunk + 16;

// Scratch of a worker.
//   products with a packed matrix:  [block rows][kSlabStride] of the left matrix
//   weight gradient:                [panel][chunk][32] of x, then [chunk][kLeftStep] of a block of g
static_assert(kBlockRows * kSlabStride * sizeof(float) <= kTileScratchBytes);
static_assert((kTilePanels * kPanel + kLeftStep) * kWeightGradChunk * sizeof(float) <= kTileScratchBytes);

void copyRow(const float *from, float *to, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    store(to + i, load(from + i));
  if (i < count)
    storeFirst(to + i, loadFirst(from + i, count - i), count - i);
}

/// Fetches part `index` of `parts` of a [rows, length] piece of a matrix into the second-level cache.
void fetchPart(const float *from, std::int64_t stride, std::int64_t rows, std::int64_t length,
               std::int64_t parts, std::int64_t index) {
  const std::int64_t lines = ceilDivide(length, kLanes);
  const Range range = part(rows * lines, parts, index);
  for (std::int64_t line = range.begin; line < range.end; ++line)
    __builtin_prefetch(from + line / lines * stride + line % lines * kLanes, 0, 2);
}

/// out[rows, columns] = left[rows, depth] times a packed matrix, plus bias.
struct PackedProduct {
  const float *left, *packed, *bias;
  float *out;
  std::int64_t depth, columns;

  void runTile(const MatrixTile &tile, float *slab) const {
    const std::int64_t chunk = chunkLength(depth), blocks = ceilDivide(tile.rows.size(), kBlockRows);
    for (std::int64_t begin = 0; begin < depth; begin += chunk)
      for (std::int64_t block = 0; block < blocks; ++block) {
        const Range rows = part(tile.rows.size(), blocks, block);
        runBlock({tile.rows.begin + rows.begin, tile.rows.begin + rows.end}, tile.columns,
                 {begin, least(depth, begin + chunk)}, slab);
      }
  }

  /// One block of rows and one chunk of the depth.
  void runBlock(Range rows, Range columnRange, Range steps, float *slab) const {
    const std::int64_t panels = ceilDivide(columnRange.size(), kPanel),
                       padded = ceilDivide(columns, kPanel) * kPanel;
    const bool copy = depth % kBadStride == 0 && panels > 1;
    const float *const a = left + rows.begin * depth + steps.begin;
    if (copy)
      for (std::int64_t row = 0; row < rows.size(); ++row)
        copyRow(a + row * depth, slab + row * kSlabStride, steps.size());
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      const std::int64_t column = columnRange.begin + panel * kPanel;
      float *const c = out + rows.begin * columns + column;
      if (copy) // the next block's rows, for its copy
        fetchPart(a + rows.size() * depth, depth, rows.size(), steps.size(), panels, panel);
      multiplyPanel<false>({.a = copy ? slab : a,
                            .aRow = copy ? kSlabStride : depth,
                            .aStep = 1,
                            .b = packed + steps.begin * padded + column * steps.size(),
                            .bStep = kPanel,
                            .depth = steps.size(),
                            .c = c,
                            .cRow = columns,
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
void packedProduct(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const PackedProduct product{.left = static_cast<const float *>(operands[0]),
                              .packed = static_cast<const float *>(operands[1]),
                              .bias = call.operands[3].present ? static_cast<const float *>(operands[3])
                                                               : nullptr,
                              .out = static_cast<float *>(operands[2]),
                              .depth = call.size(0, 1),
                              .columns = call.size(2, 1)};
  product.run(call.size(0, 0), runner);
}

/// acc[outputs, inputs] += g[tokens, outputs]^T x[tokens, inputs]: one chain over all tokens, from acc.
struct WeightGrad {
  const float *g, *x;
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
          const Product product{.a = directA ? g + begin * outputs + row : left,
                                .aRow = 1,
                                .aStep = directA ? outputs : kLeftStep,
                                .b = directB ? x + begin * inputs + column : panel,
                                .bStep = directB ? inputs : kPanel,
                                .depth = length,
                                .c = acc + row * inputs + column,
                                .cRow = inputs,
                                .nextC = acc + row * inputs + column + kPanel,
                                .chain = Chain::Continue,
                                .packedA = left,
                                .packedB = panel};
          if (directA || directB)
            multiplyPanel<true>(product, rows.size(), width);
          else
            multiplyPanel<false>(product, rows.size(), width);
        }
      }
    }
  }
};

void linearWeightGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const WeightGrad grad{.g = static_cast<const float *>(operands[0]),
                        .x = static_cast<const float *>(operands[1]),
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
void addRows(const float *g, float *acc, std::int64_t rows, std::int64_t columns, Range range) {
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

void biasGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const g = static_cast<const float *>(operands[0]);
  float *const acc = static_cast<float *>(operands[1]);
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const std::int64_t tiles = elementTiles(rows * columns) == 1 ? 1 : ceilDivide(columns, kBiasTileColumns);
  const std::int64_t width = tiles == 1 ? columns : kBiasTileColumns;
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    addRows(g, acc, rows, columns, {index * width, least(columns, (index + 1) * width)});
  });
}

const HostKernel kKernels[] = {{"linear", 1, packedProduct},
                               {"linear_input_grad", 1, packedProduct},
                               {"linear_weight_grad", 1, linearWeightGrad},
                               {"bias_grad", 1, biasGrad}};

} // namespace

extern const Family Linear = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
