// Family attention: softmax(q k^T) v without the matrix of scores. A tile is a block of queries of one head.
// It visits the blocks of keys in order with a running maximum; docs/kernels.md has the order of the sums.
#include "kernels/host/AttentionTiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

constexpr float kInfinity = __builtin_inff();

/// What a tile keeps in scratch.
struct Buffers {
  float *q, *y, *v, *keysAsColumns, *scores, *most, *sums;
  std::int32_t *visible;

  STAGEWRIGHT_INLINE Buffers(const AttentionShape &shape, void *memory) {
    Scratch scratch{static_cast<float *>(memory)};
    q = scratch.take(shape.queryBlock * shape.stride);
    y = scratch.take(shape.queryBlock * shape.stride);
    v = scratch.take(shape.keyBlock * shape.stride);
    keysAsColumns = scratch.take(shape.keyBlock * shape.width);
    scores = scratch.take(shape.queryBlock * shape.scoreStride);
    most = scratch.take(shape.queryBlock);
    sums = scratch.take(shape.queryBlock * kLanes);
    visible = reinterpret_cast<std::int32_t *>(scratch.take(shape.keyBlock));
  }
};
static_assert(sizeof(float) * (3 * 128 * (128 + 16) + 128 * 128 + 128 * (128 + 16) + 18 * 128) <=
              kTileScratchBytes);
static_assert(sizeof(float) *
                  (2 * 64 * (256 + 16) + 128 * (256 + 16) + 128 * 256 + 64 * (128 + 16) + 20 * 64) <=
              kTileScratchBytes);

template <typename T, bool kDropout>
struct Forward {
  const AttentionShape &shape;
  const DropoutBits &bits;
  const T *q, *k, *v;
  T *y;
  float *logSumExp;

  void runTile(std::int64_t b, std::int64_t h, Range queries, const Buffers &buffers) const {
    const std::int64_t g = h / (shape.heads / shape.keyHeads);
    copyRows(q + shape.queryRow(b, queries.begin, h), shape.heads * shape.width, queries.size(), shape.width,
             buffers.q, shape.stride);
    for (std::int64_t row = 0; row < queries.size(); ++row) {
      buffers.most[row] = -kInfinity;
      store(buffers.sums + row * kLanes, Vec16{});
    }
    for (std::int64_t block = 0; block < shape.keyBlocks(); ++block) {
      const Range keys = shape.keysOf(block);
      if (shape.causal && keys.begin >= queries.end)
        break;
      const std::int64_t from = shape.keyRow(b, keys.begin, g), distance = shape.keyHeads * shape.width;
      transposeRows(k + from, distance, keys.size(), shape.width, buffers.keysAsColumns);
      copyRows(v + from, distance, keys.size(), shape.width, buffers.v, shape.stride);
      const std::int32_t *const visible = visibleKeys(shape, b, keys, buffers.visible);
      shape.eachRows(queries, keys, [&](Range rows, std::int64_t end) {
        addKeys(b, h, queries, keys, rows, end, visible, buffers);
      });
    }
    for (std::int64_t row = 0; row < queries.size(); ++row)
      finishRow(b, h, queries.begin + row, row, buffers);
  }

  /// Some rows of the tile meet the first `end` keys of a block.
  void addKeys(std::int64_t b, std::int64_t h, Range queries, Range keys, Range rows, std::int64_t end,
               const std::int32_t *visible, const Buffers &buffers) const {
    multiply({.a = buffers.q + rows.begin * shape.stride,
              .aRow = shape.stride,
              .aStep = 1,
              .b = buffers.keysAsColumns,
              .bStep = kPanel,
              .bPanel = kPanel * shape.width,
              .depth = shape.width,
              .c = buffers.scores + rows.begin * shape.scoreStride,
              .cRow = shape.scoreStride,
              .chain = Chain::Start},
             rows.size(), end);
    const bool isFirst = keys.begin == 0;
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const std::int64_t element = shape.randomRow(b, h, queries.begin + row) + keys.begin;
      const float shrink =
          toProbabilities(row, end, shape.lastKey(queries, keys, row), visible, element, buffers);
      float *const sums = buffers.y + row * shape.stride;
      if (!isFirst && shrink != 1.0f)
        eachVector({0, shape.width}, [&](std::int64_t i, auto lanes) {
          write(sums + i, read(sums + i, lanes) * shrink, lanes);
        });
    }
    multiply({.a = buffers.scores + rows.begin * shape.scoreStride,
              .aRow = shape.scoreStride,
              .aStep = 1,
              .b = buffers.v,
              .bStep = shape.stride,
              .bPanel = kPanel,
              .depth = end,
              .c = buffers.y + rows.begin * shape.stride,
              .cRow = shape.stride,
              .chain = isFirst ? Chain::Start : Chain::Continue},
             rows.size(), shape.width);
  }

  /// A row of scores becomes exp((score - maximum so far) * scale), which is added to the row's sums: exactly
  /// 1 at the maximum, whatever its size. Returns the factor for what was added before. What dropout does not
  /// keep counts in the sums only.
  float toProbabilities(std::int64_t row, std::int64_t end, std::int64_t last, const std::int32_t *visible,
                        std::int64_t element, const Buffers &buffers) const {
    float *const scores = buffers.scores + row * shape.scoreStride;
    Vec16 largest = splat(-kInfinity);
    for (std::int64_t i = 0; i < end; i += kLanes) {
      const Vec16 seen = hiddenKeys(visible, i, last) ? splat(-kInfinity) : load(scores + i);
      store(scores + i, seen);
      largest = larger(seen, largest);
    }
    const float before = buffers.most[row], here = largestLane(largest);
    const float most = here > before ? here : before, base = most == -kInfinity ? 0.0f : most;
    const float shrink = most == before ? 1.0f : expNormal(splat((before - base) * shape.scale))[0];
    buffers.most[row] = most;
    Vec16 sum = load(buffers.sums + row * kLanes) * shrink;
    eachScores<kDropout>(end, bits, element, [&](std::int64_t i, Bits16 kept) {
      const Vec16 value = expNormal((load(scores + i) - base) * shape.scale);
      sum = sum + value;
      store(scores + i, !kDropout ? value : kept ? value * bits.scale : Vec16{});
    });
    store(buffers.sums + row * kLanes, sum);
    return shrink;
  }

  void finishRow(std::int64_t b, std::int64_t h, std::int64_t query, std::int64_t row,
                 const Buffers &buffers) const {
    const float sum = sumLanes(load(buffers.sums + row * kLanes)), inverse = 1.0f / sum;
    T *const to = y + shape.queryRow(b, query, h);
    const float *const from = buffers.y + row * shape.stride;
    eachVector({0, shape.width}, [&](std::int64_t i, auto lanes) {
      write(to + i, sum == 0.0f ? Vec16{} : read(from + i, lanes) * inverse, lanes);
    });
    logSumExp[shape.scoreRow(b, h, query)] = buffers.most[row] + log(splat(sum))[0] / shape.scale;
  }

  void run(TileRunner &runner) const {
    const std::int64_t blocks = shape.queryBlocks();
    shape.runPieces(runner, shape.batch * shape.heads * blocks, [&](std::int64_t i, int worker) {
      const std::int64_t b = i / blocks / shape.heads, h = i / blocks % shape.heads;
      // Causal: the longest first.
      runTile(b, h, shape.queriesOf(blocks - 1 - i % blocks), Buffers(shape, runner.scratch(worker)));
    });
  }
};

template <typename T, bool kDropout>
void attentionOf(const AttentionShape &shape, const DropoutBits &bits, void *const *operands,
                 TileRunner &runner) {
  Forward<T, kDropout>{.shape = shape,
                       .bits = bits,
                       .q = static_cast<const T *>(operands[0]),
                       .k = static_cast<const T *>(operands[1]),
                       .v = static_cast<const T *>(operands[2]),
                       .y = static_cast<T *>(operands[3]),
                       .logSumExp = static_cast<float *>(operands[4])}
      .run(runner);
}

template <typename T>
void attention(const Call &call, void *const *operands, void *, TileRunner &runner) {
  AttentionShape shape(call, 0, 1);
  shape.keyMask = optionalOperand<std::int32_t>(call, operands, 5);
  attentionOf<T, false>(shape, {}, operands, runner);
}

template <typename T>
void attentionDropout(const Call &call, void *const *operands, void *, TileRunner &runner) {
  AttentionShape shape(call, 0, 1);
  shape.keyMask = optionalOperand<std::int32_t>(call, operands, 6);
  attentionOf<T, true>(shape, {operands[5], call.reals[2], call.integers[3], call.integers[4]}, operands,
                       runner);
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("attention", 1, attention),
                               STAGEWRIGHT_FOR_ELEMENTS("attention_dropout", 1, attentionDropout)};

} // namespace

extern const Family Attention = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
