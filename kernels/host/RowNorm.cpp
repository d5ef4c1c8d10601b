// Family row_norm: layer_norm, rms_norm, normalize and their gradients. A row's sums are RowSums; a weight
// gradient is one chain per column over all rows, from acc.
#include "kernels/host/Rows.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// 1 / sqrt(sum / columns + epsilon)
STAGEWRIGHT_INLINE float inverseDeviation(float sum, std::int64_t columns, double epsilon) {
  return 1.0f / squareRoot(splat(sum / float(columns) + float(epsilon)))[0];
}

template <typename T>
void layerNorm(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  float *const means = static_cast<float *>(operands[2]), *const rstds = static_cast<float *>(operands[3]);
  const float *const weight = optionalOperand<float>(call, operands, 4), *const bias = optionalOperand<float>(
                                                                             call, operands, 5);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const T *const from = x + row * columns;
    T *const to = y + row * columns;
    RowSum sum, squares;
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) { sum.add(read(from + i, lanes)); });
    const float mean = sum.total() / float(columns);
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 difference = fill(read(from + i, lanes) - mean, Vec16{}, lanes);
      squares.addProduct(difference, difference);
    });
    const float rstd = inverseDeviation(squares.total(), columns, call.reals[0]);
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 normalized = (read(from + i, lanes) - mean) * rstd;
      write(to + i, fma(normalized, readOr(weight, i, 1, lanes), readOr(bias, i, 0, lanes)), lanes);
    });
    means[row] = mean;
    rstds[row] = rstd;
  });
}

template <typename T>
void rmsNorm(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  float *const rstds = static_cast<float *>(operands[2]);
  const float *const weight = optionalOperand<float>(call, operands, 3);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const T *const from = x + row * columns;
    T *const to = y + row * columns;
    RowSum squares;
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 value = read(from + i, lanes);
      squares.addProduct(value, value);
    });
    const float rstd = inverseDeviation(squares.total(), columns, call.reals[0]);
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      write(to + i, read(from + i, lanes) * rstd * readOr(weight, i, 1, lanes), lanes);
    });
    rstds[row] = rstd;
  });
}

/// What the gradients know of the forward pass. Without `means` it was rms_norm.
template <typename T>
struct Normalized {
  const T *g, *x;
  const float *means, *rstds;
  std::int64_t rows, columns;

  template <typename Lanes>
  STAGEWRIGHT_INLINE Vec16 at(std::int64_t row, std::int64_t column, float mean, Lanes lanes) const {
    return (read(x + row * columns + column, lanes) - mean) * rstds[row];
  }
  STAGEWRIGHT_INLINE float mean(std::int64_t row) const { return means ? means[row] : 0.0f; }
};

/// The operands g, x, mean (not of rms_norm) and rstd.
template <typename T>
STAGEWRIGHT_INLINE Normalized<T> normalizedOf(const Call &call, void *const *operands, bool centred) {
  return {.g = static_cast<const T *>(operands[0]),
          .x = static_cast<const T *>(operands[1]),
          .means = centred ? static_cast<const float *>(operands[2]) : nullptr,
          .rstds = static_cast<const float *>(operands[centred ? 3 : 2]),
          .rows = call.size(0, 0),
          .columns = call.size(0, 1)};
}

/// With w = g * weight and n = normalized x:  dx = rstd * (w - mean(w) - n mean(w n)); rms_norm has no
/// mean(w).
template <typename T, bool Centred>
void normGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const Normalized<T> forward = normalizedOf<T>(call, operands, Centred);
  const std::int64_t columns = forward.columns;
  T *const dx = static_cast<T *>(operands[Centred ? 4 : 3]);
  const float *const weight = optionalOperand<float>(call, operands, Centred ? 5 : 4);
  runRows(runner, forward.rows, columns, [&](std::int64_t row, int) {
    const T *const g = forward.g + row * columns;
    T *const to = dx + row * columns;
    const float mean = forward.mean(row), rstd = forward.rstds[row];
    RowSum sum, products;
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 w = read(g + i, lanes) * readOr(weight, i, 1, lanes);
      if constexpr (Centred)
        sum.add(w);
      products.addProduct(w, fill(forward.at(row, i, mean, lanes), Vec16{}, lanes));
    });
    const float offset = Centred ? sum.total() / float(columns) : 0.0f,
                slope = products.total() / float(columns);
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 w = read(g + i, lanes) * readOr(weight, i, 1, lanes);
      const Vec16 n = forward.at(row, i, mean, lanes);
      write(to + i, rstd * fma(-n, splat(slope), w - offset), lanes);
    });
  });
}
template <typename T>
void layerNormGrad(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  normGrad<T, true>(call, operands, workspace, runner);
}
template <typename T>
void rmsNormGrad(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  normGrad<T, false>(call, operands, workspace, runner);
}

/// max(norm, epsilon), as torch.clamp_min: a norm that is not a number stays so.
STAGEWRIGHT_INLINE float divisorOf(float norm, double epsilon) {
  return norm < float(epsilon) ? float(epsilon) : norm;
}

template <typename T>
void normalize(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  float *const norms = static_cast<float *>(operands[2]);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const T *const from = x + row * columns;
    T *const to = y + row * columns;
    RowSum squares;
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 value = fill(read(from + i, lanes), Vec16{}, lanes);
      squares.addProduct(value, value);
    });
    const float norm = squareRoot(splat(squares.total()))[0], divisor = divisorOf(norm, call.reals[0]);
    eachVector({0, columns},
               [&](std::int64_t i, auto lanes) { write(to + i, read(from + i, lanes) / divisor, lanes); });
    norms[row] = norm;
  });
}

/// With u = x / divisor:  dx = (g - u sum(g u)) / divisor; below epsilon the divisor is constant: g /
/// divisor.
template <typename T>
void normalizeGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const T *const gradient = static_cast<const T *>(operands[0]), *const x =
                                                                     static_cast<const T *>(operands[1]);
  const float *const norms = static_cast<const float *>(operands[2]);
  T *const dx = static_cast<T *>(operands[3]);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const T *const g = gradient + row * columns, *const from = x + row * columns;
    T *const to = dx + row * columns;
    const float divisor = divisorOf(norms[row], call.reals[0]);
    RowSum products;
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      products.addProduct(fill(read(g + i, lanes), Vec16{}, lanes),
                          fill(read(from + i, lanes) / divisor, Vec16{}, lanes));
    });
    const float slope = norms[row] < float(call.reals[0]) ? 0.0f : products.total();
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 u = read(from + i, lanes) / divisor;
      write(to + i, fma(-u, splat(slope), read(g + i, lanes)) / divisor, lanes);
    });
  });
}

constexpr int kStripVectors = 8;
constexpr std::int64_t kStripColumns = kStripVectors * kLanes;
/// Rows that a strip is fetched ahead: it jumps from row to row, which the processor does not foresee.
constexpr std::int64_t kFetchAhead = 16;

/// acc[column] += sum over rows of g * normalized x, for some columns: one chain each.
template <typename T>
void addWeightGrad(const Normalized<T> &forward, float *acc, Range range) {
  std::int64_t column = range.begin;
  for (; column + kStripColumns <= range.end; column += kStripColumns) {
    Vec16 sums[kStripVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kStripVectors; ++i)
      sums[i] = load(acc + column + i * kLanes);
    for (std::int64_t row = 0; row < forward.rows; ++row) {
      const T *const g = forward.g + row * forward.columns + column;
      const float mean = forward.mean(row);
      const std::int64_t ahead = least(row + kFetchAhead, forward.rows - 1) * forward.columns + column;
#pragma GCC unroll 8
      for (int i = 0; i < kStripVectors; ++i) {
        __builtin_prefetch(forward.g + ahead + i * kLanes);
        __builtin_prefetch(forward.x + ahead + i * kLanes);
      }
#pragma GCC unroll 8
      for (int i = 0; i < kStripVectors; ++i)
        sums[i] = fma(load(g + i * kLanes), forward.at(row, column + i * kLanes, mean, AllLanes{}), sums[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kStripVectors; ++i)
      store(acc + column + i * kLanes, sums[i]);
  }
  eachVector({column, range.end}, [&](std::int64_t i, auto lanes) {
    Vec16 sum = read(acc + i, lanes);
    for (std::int64_t row = 0; row < forward.rows; ++row)
      sum = fma(read(forward.g + row * forward.columns + i, lanes),
                forward.at(row, i, forward.mean(row), lanes), sum);
    write(acc + i, sum, lanes);
  });
}

template <typename T>
STAGEWRIGHT_INLINE void weightGrad(const Normalized<T> &forward, float *acc, TileRunner &runner) {
  const std::int64_t columns = forward.columns;
  const std::int64_t tiles =
      elementTiles(forward.rows * columns) == 1 ? 1 : ceilDivide(columns, kStripColumns);
  const std::int64_t width = tiles == 1 ? columns : kStripColumns;
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    addWeightGrad(forward, acc, {index * width, least(columns, (index + 1) * width)});
  });
}
template <typename T>
void layerNormWeightGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  weightGrad(normalizedOf<T>(call, operands, true), static_cast<float *>(operands[4]), runner);
}
template <typename T>
void rmsNormWeightGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  weightGrad(normalizedOf<T>(call, operands, false), static_cast<float *>(operands[3]), runner);
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("layer_norm", 1, layerNorm),
                               STAGEWRIGHT_FOR_ELEMENTS("layer_norm_grad", 1, layerNormGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("layer_norm_weight_grad", 1, layerNormWeightGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("rms_norm", 1, rmsNorm),
                               STAGEWRIGHT_FOR_ELEMENTS("rms_norm_grad", 1, rmsNormGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("rms_norm_weight_grad", 1, rmsNormWeightGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("normalize", 1, normalize),
                               STAGEWRIGHT_FOR_ELEMENTS("normalize_grad", 1, normalizeGrad)};

} // namespace

extern const Family RowNorm = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
