// Family dropout: what draws random numbers. The same call with the same `random` on the gradient is its
// gradient.
#include "kernels/host/Philox16.h"
#include "kernels/host/Tiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

constexpr std::int64_t kGroup = 4 * kLanes;

template <typename T>
void dropout(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[2]);
  const DropoutBits bits(operands[1], call.reals[0], call.integers[1], call.integers[2]);
  runElements(runner, call.elements(0), [&](Range range) {
    for (std::int64_t begin = range.begin; begin < range.end; begin += kGroup) {
      Bits16 kept[4];
      bits.kept(begin, kept);
#pragma GCC unroll 4
      for (int vector = 0; vector < 4; ++vector) {
        const std::int64_t i = begin + vector * kLanes;
        const auto one = [&](auto lanes) {
          write(y + i, kept[vector] ? read(x + i, lanes) * bits.scale : Vec16{}, lanes);
        };
        if (i + kLanes <= range.end)
          one(AllLanes{});
        else if (i < range.end)
          one(range.end - i);
      }
    }
  });
}

template <typename T>
void castStochastic(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const x = static_cast<const float *>(operands[0]);
  T *const y = static_cast<T *>(operands[2]);
  const RoundingWords rounding(operands[1], call.integers[0], call.integers[1] != 0);
  runElements(runner, call.elements(0), [&](Range range) {
    for (std::int64_t begin = range.begin; begin < range.end; begin += kGroup) {
      Bits16 words[4];
      rounding.of(begin, words);
#pragma GCC unroll 4
      for (int vector = 0; vector < 4; ++vector) {
        const std::int64_t i = begin + vector * kLanes;
        const auto one = [&](auto lanes) {
          const Vec16 value = read(x + i, lanes);
          write(y + i, rounding.draws ? roundedBy<T>(Unsigned16(words[vector]), value) : value, lanes);
        };
        if (i + kLanes <= range.end)
          one(AllLanes{});
        else if (i < range.end)
          one(range.end - i);
      }
    }
  });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("dropout", 1, dropout),
                               STAGEWRIGHT_FOR_ELEMENTS("cast_stochastic", 1, castStochastic)};

} // namespace

extern const Family Dropout = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
