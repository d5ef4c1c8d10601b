// Family embedding: rows of a table, or of one rank's part of it, by number, and their gradient. The gradient
// adds the tokens in order to every column, so that k micro-batches one by one equal one call on all their
// tokens; tiles are columns.
#include "kernels/host/Rows.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

template <typename T>
void embedding(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const std::int32_t *const ids = static_cast<const std::int32_t *>(operands[0]);
  const float *const weight = static_cast<const float *>(operands[1]);
  T *const y = static_cast<T *>(operands[2]);
  const std::int32_t *const tensorRank = optionalOperand<std::int32_t>(call, operands, 3);
  const std::int64_t entries = call.size(1, 0), columns = call.size(1, 1),
                     rank = tensorRank ? *tensorRank : 0;
  runRows(runner, call.size(0, 0), columns, [&](std::int64_t row, int) {
    const std::int64_t entry = placeInPart(ids[row], entries, rank);
    T *const to = y + row * columns;
    const float absent = tensorRank && ids[row] >= 0 ? 0.0f : __builtin_nanf("");
    if (entry >= 0)
      eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
        write(to + i, read(weight + entry * columns + i, lanes), lanes);
      });
    else
      eachVector({0, columns}, [&](std::int64_t i, auto lanes) { write(to + i, splat(absent), lanes); });
  });
}

constexpr std::int64_t kStripColumns = 8 * kLanes;

template <typename T>
void embeddingGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const std::int32_t *const ids = static_cast<const std::int32_t *>(operands[0]);
  const T *const g = static_cast<const T *>(operands[1]);
  float *const acc = static_cast<float *>(operands[2]);
  const std::int64_t tokens = call.size(0, 0), entries = call.size(2, 0), columns = call.size(2, 1);
  const std::int32_t *const tensorRank = optionalOperand<std::int32_t>(call, operands, 3);
  const std::int64_t padding = call.integers[0], rank = tensorRank ? *tensorRank : 0;
  const std::int64_t tiles = elementTiles(tokens * columns) == 1 ? 1 : ceilDivide(columns, kStripColumns);
  const std::int64_t width = tiles == 1 ? columns : kStripColumns;
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    const Range range{index * width, least(columns, (index + 1) * width)};
    for (std::int64_t token = 0; token < tokens; ++token) {
      const std::int64_t entry = placeInPart(ids[token], entries, rank);
      if (entry < 0 || ids[token] == padding)
        continue;
      eachVector(range, [&](std::int64_t i, auto lanes) {
        float *const to = acc + entry * columns + i;
        write(to, read(to, lanes) + read(g + token * columns + i, lanes), lanes);
      });
    }
  });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("embedding", 1, embedding),
                               STAGEWRIGHT_FOR_ELEMENTS("embedding_grad", 1, embeddingGrad)};

} // namespace

extern const Family Embedding = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
