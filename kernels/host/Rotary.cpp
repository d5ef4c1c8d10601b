// Family rotary: positions as rotations of pairs of elements.
#include "kernels/host/MathDouble16.h"
#include "kernels/host/Rows.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// Row s: cosines, then sines, of s * base^(-2i / D), computed in fp64.
void rotaryTable(const Call &call, void *const *operands, void *, TileRunner &runner) {
  float *const table = static_cast<float *>(operands[0]);
  const std::int64_t rows = call.size(0, 0), width = call.size(0, 1), half = width / 2;
  const Double16 slope = log(splatDouble(call.reals[0])) * (-2.0 / double(width));
  // Tiles are columns: a frequency is computed once.
  runTiles(runner, ceilDivide(half, kLanes), [&](std::int64_t index, int) {
    const std::int64_t column = index * kLanes, count = least(kLanes, half - column);
    const Double16 numbers = __builtin_convertvector(kLaneNumbers, Double16) + double(column);
    const Double16 frequency = exp(numbers * slope);
    for (std::int64_t row = 0; row < rows; ++row) {
      const SineCosine at = sineCosine(frequency * double(row));
      storeFirst(table + row * width + column, narrow(at.cosine), count);
      storeFirst(table + row * width + half + column, narrow(at.sine), count);
    }
  });
}

/// Element i is the pair's first, element i + half its second.
template <typename T>
STAGEWRIGHT_INLINE void rotateHalves(const T *x, const float *angles, float sign, T *y, std::int64_t half) {
  eachVector({0, half}, [&](std::int64_t i, auto lanes) {
    const Vec16 first = read(x + i, lanes), second = read(x + half + i, lanes);
    const Vec16 cosine = read(angles + i, lanes), sine = read(angles + half + i, lanes) * sign;
    write(y + i, fma(first, cosine, -(second * sine)), lanes);
    write(y + half + i, fma(second, cosine, first * sine), lanes);
  });
}

/// Element 2i is the pair's first, element 2i + 1 its second.
template <typename T>
STAGEWRIGHT_INLINE void rotatePairs(const T *x, const float *angles, float sign, T *y, std::int64_t half) {
  const auto twice = [](Vec16 a) __attribute__((always_inline)) {
    return __builtin_shufflevector(a, a, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  };
  const Vec16 signs = __builtin_convertvector((kLaneNumbers & 1) * 2 - 1, Vec16) * sign;
  eachVector({0, 2 * half}, [&](std::int64_t i, auto lanes) {
    const std::int64_t count = least(kLanes / 2, half - i / 2);
    const Vec16 value = read(x + i, lanes);
    const Vec16 other =
        __builtin_shufflevector(value, value, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    const Vec16 cosine = twice(loadFirst(angles + i / 2, count)),
                sine = twice(loadFirst(angles + half + i / 2, count)) * signs;
    write(y + i, fma(value, cosine, other * sine), lanes);
  });
}

/// Row (b, s, h) is rotated by the angles of position s. A rotation backwards is the gradient.
template <typename T>
void rotary(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  const float *const table = static_cast<const float *>(operands[1]);
  T *const y = static_cast<T *>(operands[2]);
  const std::int64_t positions = call.size(0, 1), heads = call.size(0, 2), width = call.size(0, 3);
  const float sign = call.integers[0] ? -1.0f : 1.0f;
  const bool interleaved = call.integers[1] != 0;
  runRows(runner, call.elements(0) / width, width, [&](std::int64_t row, int) {
    const float *const angles = table + row / heads % positions * width;
    if (interleaved)
      rotatePairs(x + row * width, angles, sign, y + row * width, width / 2);
    else
      rotateHalves(x + row * width, angles, sign, y + row * width, width / 2);
  });
}

const HostKernel kKernels[] = {{"rotary_table", 1, rotaryTable},
                               STAGEWRIGHT_FOR_ELEMENTS("rotary", 1, rotary)};

} // namespace

extern const Family Rotary = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
