// Family masked_mean: the mean over the tokens whose mask is not 0, and its gradient. A tile is a strip of
// columns of one sample; every column is one chain of additions over the tokens in order.
#include "kernels/host/Rows.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

constexpr std::int64_t kStripColumns = 8 * kLanes;

struct Sizes {
  std::int64_t samples, tokens, columns;
};

/// max(tokens of the sample that count, epsilon)
STAGEWRIGHT_INLINE float divisorOf(const std::int32_t *mask, std::int64_t tokens, double epsilon) {
  std::int64_t count = 0;
  for (std::int64_t token = 0; token < tokens; ++token)
    count += mask[token] != 0;
  return count == 0 ? float(epsilon) : float(count) < float(epsilon) ? float(epsilon) : float(count);
}

/// Calls body(sample, columns) for each strip.
template <typename Body>
STAGEWRIGHT_INLINE void runStrips(TileRunner &runner, const Sizes &sizes, const Body &body) {
  const bool isSmall = elementTiles(sizes.samples * sizes.tokens * sizes.columns) == 1;
  const std::int64_t strips = ceilDivide(sizes.columns, kStripColumns), all = sizes.samples * strips;
  runTiles(runner, isSmall ? 1 : all, [&](std::int64_t index, int) {
    const Range mine = isSmall ? Range{0, all} : Range{index, index + 1};
    for (std::int64_t i = mine.begin; i < mine.end; ++i) {
      const std::int64_t begin = i % strips * kStripColumns;
      body(i / strips, Range{begin, least(begin + kStripColumns, sizes.columns)});
    }
  });
}

template <typename T>
void maskedMean(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const Sizes sizes{call.size(0, 0), call.size(0, 1), call.size(0, 2)};
  const T *const x = static_cast<const T *>(operands[0]);
  const std::int32_t *const masks = static_cast<const std::int32_t *>(operands[1]);
  T *const y = static_cast<T *>(operands[2]);
  runStrips(runner, sizes, [&](std::int64_t sample, Range columns) {
    const T *const from = x + sample * sizes.tokens * sizes.columns;
    const std::int32_t *const mask = masks + sample * sizes.tokens;
    const float divisor = divisorOf(mask, sizes.tokens, call.reals[0]);
    Vec16 sums[kStripColumns / kLanes] = {};
    for (std::int64_t token = 0; token < sizes.tokens; ++token) {
      if (mask[token] == 0)
        continue;
      const T *const row = from + token * sizes.columns;
      eachVector(columns, [&](std::int64_t i, auto lanes) {
        Vec16 &sum = sums[(i - columns.begin) / kLanes];
        sum = sum + read(row + i, lanes);
      });
    }
    eachVector(columns, [&](std::int64_t i, auto lanes) {
      write(y + sample * sizes.columns + i, sums[(i - columns.begin) / kLanes] / divisor, lanes);
    });
  });
}

template <typename T>
void maskedMeanGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const Sizes sizes{call.size(2, 0), call.size(2, 1), call.size(2, 2)};
  const T *const g = static_cast<const T *>(operands[0]);
  const std::int32_t *const masks = static_cast<const std::int32_t *>(operands[1]);
  T *const dx = static_cast<T *>(operands[2]);
  runStrips(runner, sizes, [&](std::int64_t sample, Range columns) {
    T *const to = dx + sample * sizes.tokens * sizes.columns;
    const std::int32_t *const mask = masks + sample * sizes.tokens;
    const float divisor = divisorOf(mask, sizes.tokens, call.reals[0]);
    Vec16 shares[kStripColumns / kLanes] = {};
    eachVector(columns, [&](std::int64_t i, auto lanes) {
      shares[(i - columns.begin) / kLanes] = read(g + sample * sizes.columns + i, lanes) / divisor;
    });
    for (std::int64_t token = 0; token < sizes.tokens; ++token)
      eachVector(columns, [&](std::int64_t i, auto lanes) {
        const Vec16 share = mask[token] != 0 ? shares[(i - columns.begin) / kLanes] : Vec16{};
        write(to + token * sizes.columns + i, share, lanes);
      });
  });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("masked_mean", 1, maskedMean),
                               STAGEWRIGHT_FOR_ELEMENTS("masked_mean_grad", 1, maskedMeanGrad)};

} // namespace

extern const Family MaskedMean = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
