// Family attention_grad: the gradients of attention, from scores that are computed again. A tile is one head
// of keys: it owns dk and dv of that head and dq of the heads of queries that look at it. docs/kernels.md has
// the order of the sums.
#include "kernels/host/AttentionTiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// What a tile keeps in scratch.
struct Buffers {
  float *q, *g, *k, *dk, *dv, *keysAsColumns, *valuesAsColumns, *probabilities, *slopes, *products;
  std::int32_t *visible;

  STAGEWRIGHT_INLINE Buffers(const AttentionShape &shape, void *memory) {
    Scratch scratch{static_cast<float *>(memory)};
    q = scratch.take(shape.queryBlock * shape.stride);
    g = scratch.take(shape.queryBlock * shape.stride);
    k = scratch.take(shape.keyBlock * shape.stride);
    dk = scratch.take(shape.keyBlock * shape.stride);
    dv = scratch.take(shape.keyBlock * shape.stride);
    keysAsColumns = scratch.take(shape.keyBlock * shape.width);
    valuesAsColumns = scratch.take(shape.keyBlock * shape.width);
    probabilities = scratch.take(shape.queryBlock * shape.scoreStride);
    slopes = scratch.take(shape.queryBlock * shape.scoreStride);
    products = scratch.take(shape.queryBlock);
    visible = reinterpret_cast<std::int32_t *>(scratch.take(shape.keyBlock));
  }
};
constexpr std::int64_t bufferFloats(std::int64_t queries, std::int64_t keys, std::int64_t width) {
  return (2 * queries + 3 * keys) * (width + 16) + 2 * keys * width + 2 * queries * (keys + 16) + queries +
         keys;
}
static_assert(bufferFloats(128, 128, 128) * sizeof(float) <= kTileScratchBytes);
static_assert(bufferFloats(64, 128, 256) * sizeof(float) <= kTileScratchBytes);
static_assert(bufferFloats(32, 64, 512) * sizeof(float) <= kTileScratchBytes);

template <typename T, bool kDropout>
struct Backward {
  const AttentionShape &shape;
  const DropoutBits &bits;
  const T *g, *q, *k, *v, *y;
  const float *logSumExp;
  float *dqSums; ///< [batch, queries, heads, width]
  T *dq, *dk, *dv;

  /// One block of queries of one head meets one block of keys.
  struct Meeting {
    std::int64_t b, h;
    Range queries, keys;
    const std::int32_t *visible;
  };

  void runTile(std::int64_t b, std::int64_t keyHead, const Buffers &buffers) const {
    const std::int64_t shared = shape.heads / shape.keyHeads;
    for (std::int64_t block = 0; block < shape.keyBlocks(); ++block) {
      const Range keys = shape.keysOf(block);
      loadKeys(b, keyHead, keys, buffers);
      const std::int32_t *const visible = visibleKeys(shape, b, keys, buffers.visible);
      for (std::int64_t h = keyHead * shared; h < (keyHead + 1) * shared; ++h)
        for (std::int64_t i = 0; i < shape.queryBlocks(); ++i)
          if (const Range queries = shape.queriesOf(i); !shape.causal || queries.end > keys.begin)
            meet({b, h, queries, keys, visible}, buffers);
      const std::int64_t to = shape.keyRow(b, keys.begin, keyHead), distance = shape.keyHeads * shape.width;
      copyRows(buffers.dk, shape.stride, keys.size(), shape.width, dk + to, distance);
      copyRows(buffers.dv, shape.stride, keys.size(), shape.width, dv + to, distance);
    }
    if constexpr (sizeof(T) != sizeof(float))
      for (std::int64_t h = keyHead * shared; h < (keyHead + 1) * shared; ++h) {
        const std::int64_t row = shape.queryRow(b, 0, h), distance = shape.heads * shape.width;
        copyRows(dqSums + row, distance, shape.queries, shape.width, dq + row, distance);
      }
  }

  void loadKeys(std::int64_t b, std::int64_t keyHead, Range keys, const Buffers &buffers) const {
    const std::int64_t from = shape.keyRow(b, keys.begin, keyHead), distance = shape.keyHeads * shape.width;
    transposeRows(k + from, distance, keys.size(), shape.width, buffers.keysAsColumns);
    transposeRows(v + from, distance, keys.size(), shape.width, buffers.valuesAsColumns);
    copyRows(k + from, distance, keys.size(), shape.width, buffers.k, shape.stride);
    for (std::int64_t i = 0; i < keys.size() * shape.stride; i += kLanes) {
      store(buffers.dk + i, Vec16{});
      store(buffers.dv + i, Vec16{});
    }
  }

  void loadQueries(const Meeting &meeting, const Buffers &buffers) const {
    const std::int64_t from = shape.queryRow(meeting.b, meeting.queries.begin, meeting.h),
                       distance = shape.heads * shape.width, rows = meeting.queries.size();
    copyRows(q + from, distance, rows, shape.width, buffers.q, shape.stride);
    copyRows(g + from, distance, rows, shape.width, buffers.g, shape.stride);
    for (std::int64_t row = 0; row < rows; row += kLanes)
      rowProducts(buffers.g + row * shape.stride, y + from + row * distance, distance,
                  least(kLanes, rows - row), buffers.products + row);
  }

  /// g y^T of up to 16 rows, a lane each, in one chain over the elements as a score has it: a row that looks
  /// at one key alone, whose y is that key's v, then has a slope of exactly zero, whatever the size of v.
  void rowProducts(const float *left, const T *right, std::int64_t distance, std::int64_t rows,
                   float *products) const {
    Vec16 sum{};
    for (std::int64_t column = 0; column < shape.width; column += kLanes) {
      const std::int64_t count = least(kLanes, shape.width - column);
      Vec16 a[kLanes] = {}, b[kLanes] = {};
      for (int i = 0; i < rows; ++i) {
        a[i] = loadFirst(left + i * shape.stride + column, count);
        b[i] = loadFirst(right + i * distance + column, count);
      }
      transpose(a);
      transpose(b);
      for (int i = 0; i < count; ++i)
        sum = fma(a[i], b[i], sum);
    }
    storeFirst(products, sum, rows);
  }

  void meet(const Meeting &meeting, const Buffers &buffers) const {
    loadQueries(meeting, buffers);
    const Range queries = meeting.queries, keys = meeting.keys;
    shape.eachRows(queries, keys, [&](Range rows, std::int64_t end) {
      scoreProduct(buffers.q, buffers.keysAsColumns, buffers.probabilities, rows, end);
      scoreProduct(buffers.g, buffers.valuesAsColumns, buffers.slopes, rows, end);
      for (std::int64_t row = rows.begin; row < rows.end; ++row)
        toSlopes(meeting, row, end, buffers);
      const std::int64_t first = shape.queryRow(meeting.b, queries.begin + rows.begin, meeting.h);
      multiply({.a = buffers.slopes + rows.begin * shape.scoreStride,
                .aRow = shape.scoreStride,
                .aStep = 1,
                .b = buffers.k,
                .bStep = shape.stride,
                .bPanel = kPanel,
                .depth = end,
                .c = dqSums + first,
                .cRow = shape.heads * shape.width,
                .chain = keys.begin == 0 ? Chain::Start : Chain::Continue},
               rows.size(), shape.width);
    });
    // Causal: keys whose first query is the same, again in steps of kCausalRows.
    const std::int64_t step = shape.causal ? kCausalRows : keys.size();
    for (std::int64_t begin = 0; begin < keys.size(); begin += step) {
      const Range part{begin, least(keys.size(), begin + step)};
      const std::int64_t first = keys.begin + begin - queries.begin;
      const std::int64_t row = shape.causal && first > 0 ? first / kCausalRows * kCausalRows : 0;
      if (row < queries.size()) {
        keyProduct(buffers.probabilities, buffers.g, buffers.dv, part, {row, queries.size()});
        keyProduct(buffers.slopes, buffers.q, buffers.dk, part, {row, queries.size()});
      }
    }
  }

  /// out[rows, end] = left[rows, width] columns[width, end]
  void scoreProduct(const float *left, const float *columns, float *out, Range rows, std::int64_t end) const {
    multiply({.a = left + rows.begin * shape.stride,
              .aRow = shape.stride,
              .aStep = 1,
              .b = columns,
              .bStep = kPanel,
              .bPanel = kPanel * shape.width,
              .depth = shape.width,
              .c = out + rows.begin * shape.scoreStride,
              .cRow = shape.scoreStride,
              .chain = Chain::Start},
             rows.size(), end);
  }

  /// sums[keys, width] += scores[rows, keys]^T right[rows, width]
  void keyProduct(const float *scores, const float *right, float *sums, Range keys, Range rows) const {
    multiply({.a = scores + rows.begin * shape.scoreStride + keys.begin,
              .aRow = 1,
              .aStep = shape.scoreStride,
              .b = right + rows.begin * shape.stride,
              .bStep = shape.stride,
              .bPanel = kPanel,
              .depth = rows.size(),
              .c = sums + keys.begin * shape.stride,
              .cRow = shape.stride,
              .chain = Chain::Continue},
             keys.size(), shape.width);
  }

  /// A row of scores and of g v^T becomes probabilities (of what dropout keeps) and gradients of the scores
  /// times scale. Zero for what is not seen, up to the end of a step of keys.
  void toSlopes(const Meeting &meeting, std::int64_t row, std::int64_t end, const Buffers &buffers) const {
    float *const probabilities = buffers.probabilities + row * shape.scoreStride;
    float *const slopes = buffers.slopes + row * shape.scoreStride;
    const std::int64_t last = shape.lastKey(meeting.queries, meeting.keys, row),
                       query = meeting.queries.begin + row;
    const float base = logSumExp[shape.scoreRow(meeting.b, meeting.h, query)],
                product = buffers.products[row];
    const std::int64_t element = shape.randomRow(meeting.b, meeting.h, query) + meeting.keys.begin;
    const std::int64_t padded = ceilDivide(end, kCausalRows) * kCausalRows;
    eachScores<kDropout>(padded, bits, element, [&](std::int64_t i, Bits16 kept) {
      const Bits16 hidden = hiddenKeys(meeting.visible, i, last);
      const Vec16 value = hidden ? Vec16{} : expNormal((load(probabilities + i) - base) * shape.scale);
      Vec16 gradient = load(slopes + i), used = value;
      if constexpr (kDropout) {
        gradient = kept ? gradient * bits.scale : Vec16{};
        used = kept ? value * bits.scale : Vec16{};
      }
      store(probabilities + i, used);
      store(slopes + i, hidden ? Vec16{} : value * (gradient - product) * shape.scale);
    });
  }

  void run(TileRunner &runner) const {
    shape.runPieces(runner, shape.batch * shape.keyHeads, [&](std::int64_t i, int worker) {
      runTile(i / shape.keyHeads, i % shape.keyHeads, Buffers(shape, runner.scratch(worker)));
    });
  }
};

template <typename T, bool kDropout>
void gradOf(const AttentionShape &shape, const DropoutBits &bits, void *const *operands, void *workspace,
            TileRunner &runner) {
  T *const dq = static_cast<T *>(operands[6]);
  float *dqSums = static_cast<float *>(workspace);
  if constexpr (sizeof(T) == sizeof(float))
    dqSums = dq;
  Backward<T, kDropout>{.shape = shape,
                        .bits = bits,
                        .g = static_cast<const T *>(operands[0]),
                        .q = static_cast<const T *>(operands[1]),
                        .k = static_cast<const T *>(operands[2]),
                        .v = static_cast<const T *>(operands[3]),
                        .y = static_cast<const T *>(operands[4]),
                        .logSumExp = static_cast<const float *>(operands[5]),
                        .dqSums = dqSums,
                        .dq = dq,
                        .dk = static_cast<T *>(operands[7]),
                        .dv = static_cast<T *>(operands[8])}
      .run(runner);
}

template <typename T>
void attentionGrad(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  AttentionShape shape(call, 1, 2);
  shape.keyMask = optionalOperand<std::int32_t>(call, operands, 9);
  gradOf<T, false>(shape, {}, operands, workspace, runner);
}

template <typename T>
void attentionDropoutGrad(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  AttentionShape shape(call, 1, 2);
  shape.keyMask = optionalOperand<std::int32_t>(call, operands, 10);
  const DropoutBits bits(operands[9], call.reals[2], call.integers[3], call.integers[4]);
  gradOf<T, true>(shape, bits, operands, workspace, runner);
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("attention_grad", 1, attentionGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("attention_dropout_grad", 1, attentionDropoutGrad)};

} // namespace

extern const Family AttentionGrad = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
