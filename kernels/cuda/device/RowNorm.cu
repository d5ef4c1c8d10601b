// Family row norm. The formulas are those of kernels/host/RowNorm.cpp.
#include "kernels/cuda/device/RowNormArguments.h"
#include "kernels/cuda/device/Rows.cuh"

namespace {

/// Element (row, 0) of a matrix.
template <typename T>
__device__ const T *rowOf(const void *matrix, int64_t row, const RowLayout &layout) {
  return static_cast<const T *>(matrix) + row * layout.columns;
}
template <typename T>
__device__ T *rowOf(void *matrix, int64_t row, const RowLayout &layout) {
  return static_cast<T *>(matrix) + row * layout.columns;
}

/// 1 / sqrt(sum / columns + epsilon)
__device__ float inverseDeviation(float sum, int64_t columns, float epsilon) {
  return 1.0f / sqrtf(sum / float(columns) + epsilon);
}

template <typename T>
__device__ void layer_norm(const RowNormArguments &a) {
  const int64_t columns = a.layout.columns;
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const RowPart<T, N, 1, decltype(team)> x(team, columns, rowOf<T>(a.x, row, a.layout));
    float sum = 0, squares = 0;
    x.each([&](int64_t, const auto &v) {
      for (int k = 0; k < N; ++k)
        sum += v[0][k];
    });
    const float mean = teamSum(sum, team) / float(columns);
    x.each([&](int64_t, const auto &v) {
      for (int k = 0; k < N; ++k)
        squares = fmaf(v[0][k] - mean, v[0][k] - mean, squares);
    });
    const float rstd = inverseDeviation(teamSum(squares, team), columns, a.epsilon);
    T *const y = rowOf<T>(a.y, row, a.layout);
    x.each([&](int64_t column, const auto &v) {
      float weight[N], bias[N], out[N];
      readOr(a.weight, column, 1.0f, weight);
      readOr(a.bias, column, 0.0f, bias);
      for (int k = 0; k < N; ++k)
        out[k] = fmaf((v[0][k] - mean) * rstd, weight[k], bias[k]);
      writePiece(y + column, out);
    });
    if (team.thread() == 0) {
      a.mean[row] = mean;
      a.rstd[row] = rstd;
    }
  });
}

template <typename T>
__device__ void rms_norm(const RowNormArguments &a) {
  const int64_t columns = a.layout.columns;
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const RowPart<T, N, 1, decltype(team)> x(team, columns, rowOf<T>(a.x, row, a.layout));
    float squares = 0;
    x.each([&](int64_t, const auto &v) {
      for (int k = 0; k < N; ++k)
        squares = fmaf(v[0][k], v[0][k], squares);
    });
    const float rstd = inverseDeviation(teamSum(squares, team), columns, a.epsilon);
    T *const y = rowOf<T>(a.y, row, a.layout);
    x.each([&](int64_t column, const auto &v) {
      float weight[N], out[N];
      readOr(a.weight, column, 1.0f, weight);
      for (int k = 0; k < N; ++k)
        out[k] = v[0][k] * rstd * weight[k];
      writePiece(y + column, out);
    });
    if (team.thread() == 0)
      a.rstd[row] = rstd;
  });
}

/// With w = g * weight and n = normalized x:  dx = rstd * (w - mean(w) - n mean(w n)); rms_norm, which has no
/// mean, has no mean(w).
template <typename T>
__device__ void norm_grad(const RowNormArguments &a) {
  const int64_t columns = a.layout.columns;
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const RowPart<T, N, 2, decltype(team)> gx(team, columns, rowOf<T>(a.g, row, a.layout),
                                              rowOf<T>(a.x, row, a.layout));
    const float mean = a.mean ? a.mean[row] : 0.0f, rstd = a.rstd[row];
    float sum = 0, products = 0;
    gx.each([&](int64_t column, const auto &v) {
      float weight[N];
      readOr(a.weight, column, 1.0f, weight);
      for (int k = 0; k < N; ++k) {
        const float w = v[0][k] * weight[k];
        sum += w;
        products = fmaf(w, (v[1][k] - mean) * rstd, products);
      }
    });
    const float offset = a.mean ? teamSum(sum, team) / float(columns) : 0.0f;
    const float slope = teamSum(products, team) / float(columns);
    T *const dx = rowOf<T>(a.y, row, a.layout);
    gx.each([&](int64_t column, const auto &v) {
      float weight[N], out[N];
      readOr(a.weight, column, 1.0f, weight);
      for (int k = 0; k < N; ++k)
        out[k] = rstd * fmaf(-(v[1][k] - mean) * rstd, slope, v[0][k] * weight[k] - offset);
      writePiece(dx + column, out);
    });
  });
}

/// max(norm, epsilon), as torch.clamp_min: a norm that is not a number stays so.
__device__ float divisorOf(float norm, float epsilon) {
  return norm < epsilon ? epsilon : norm;
}

/// rstd: the norms.
template <typename T>
__device__ void normalize(const RowNormArguments &a) {
  const int64_t columns = a.layout.columns;
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const RowPart<T, N, 1, decltype(team)> x(team, columns, rowOf<T>(a.x, row, a.layout));
    float squares = 0;
    x.each([&](int64_t, const auto &v) {
      for (int k = 0; k < N; ++k)
        squares = fmaf(v[0][k], v[0][k], squares);
    });
    const float norm = sqrtf(teamSum(squares, team)), divisor = divisorOf(norm, a.epsilon);
    T *const y = rowOf<T>(a.y, row, a.layout);
    x.each([&](int64_t column, const auto &v) {
      float out[N];
      for (int k = 0; k < N; ++k)
        out[k] = v[0][k] / divisor;
      writePiece(y + column, out);
    });
    if (team.thread() == 0)
      a.rstd[row] = norm;
  });
}

/// With u = x / divisor:  dx = (g - u sum(g u)) / divisor; below epsilon the divisor is constant: g /
/// divisor.
template <typename T>
__device__ void normalize_grad(const RowNormArguments &a) {
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const RowPart<T, N, 2, decltype(team)> gx(team, a.layout.columns, rowOf<T>(a.g, row, a.layout),
                                              rowOf<T>(a.x, row, a.layout));
    const float divisor = divisorOf(a.rstd[row], a.epsilon);
    float products = 0;
    gx.each([&](int64_t, const auto &v) {
      for (int k = 0; k < N; ++k)
        products = fmaf(v[0][k], v[1][k] / divisor, products);
    });
    products = teamSum(products, team);
    const float slope = a.rstd[row] < a.epsilon ? 0.0f : products;
    T *const dx = rowOf<T>(a.y, row, a.layout);
    gx.each([&](int64_t column, const auto &v) {
      float out[N];
      for (int k = 0; k < N; ++k)
        out[k] = fmaf(-(v[1][k] / divisor), slope, v[0][k]) / divisor;
      writePiece(dx + column, out);
    });
  });
}

/// A block has 32 N columns of one chunk of rows: each of its 8 warps adds up every 8th row, then the warps
/// are added in order.
template <typename T, int N>
__device__ void addColumnsOfChunk(const ColumnSumArguments &a, int64_t unit) {
  constexpr int kWarps = 8, kColumns = 32 * N;
  __shared__ float ofWarps[kWarps][kColumns];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t blocks = (a.columns + kColumns - 1) / kColumns, chunk = unit / blocks;
  const int64_t first = unit % blocks * kColumns, column = first + lane * N;
  const int64_t begin = chunk * a.rowsOfChunk;
  const int64_t end = begin + a.rowsOfChunk < a.rows ? begin + a.rowsOfChunk : a.rows;
  float sums[N] = {};
  if (column < a.columns)
#pragma unroll 4
    for (int64_t row = begin + warp; row < end; row += kWarps) {
      float g[N], x[N];
      readPiece(static_cast<const T *>(a.g) + row * a.columns + column, g);
      if (!a.x) {
        for (int k = 0; k < N; ++k)
          sums[k] += g[k];
        continue;
      }
      readPiece(static_cast<const T *>(a.x) + row * a.columns + column, x);
      const float mean = a.mean ? a.mean[row] : 0.0f, rstd = a.rstd[row];
      for (int k = 0; k < N; ++k)
        sums[k] = fmaf(g[k], (x[k] - mean) * rstd, sums[k]);
    }
  barrier(); // an earlier unit has been added
  for (int k = 0; k < N; ++k)
    ofWarps[warp][lane * N + k] = sums[k];
  barrier();
  const int64_t own = first + threadIdx.x;
  if (threadIdx.x < kColumns && own < a.columns) {
    float sum = ofWarps[0][threadIdx.x];
    for (int i = 1; i < kWarps; ++i)
      sum += ofWarps[i][threadIdx.x];
    if (a.rowsOfChunk >= a.rows)
      a.acc[own] += sum;
    else
      a.partials[chunk * a.columns + own] = sum;
  }
}

template <typename T>
__device__ void add_columns(const ColumnSumArguments &a) {
  constexpr int kPack = Pack<T>::kSize;
  const int64_t chunks = (a.rows + a.rowsOfChunk - 1) / a.rowsOfChunk,
                columns = a.isAligned ? 32 * kPack : 32;
  const int64_t units = chunks * ((a.columns + columns - 1) / columns);
  for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    if (a.isAligned)
      addColumnsOfChunk<T, kPack>(a, unit);
    else
      addColumnsOfChunk<T, 1>(a, unit);
  }
}

/// 32 columns of 8 warps: warp i adds up chunks i, i + 8, ... in order, then the warps are added in order.
__device__ void add_partials(const AddPartialsArguments &a) {
  constexpr int kWarps = 8;
  __shared__ float ofWarps[kWarps][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int64_t first = int64_t(blockIdx.x) * 32; first < a.columns; first += int64_t(gridDim.x) * 32) {
    const int64_t column = first + lane;
    float sum = 0;
    if (column < a.columns)
#pragma unroll 4
      for (int64_t chunk = warp; chunk < a.chunks; chunk += kWarps)
        sum += a.partials[chunk * a.columns + column];
    barrier(); // earlier columns have been added
    ofWarps[warp][lane] = sum;
    barrier();
    if (warp == 0 && column < a.columns) {
      for (int i = 1; i < kWarps; ++i)
        sum += ofWarps[i][lane];
      a.acc[column] += sum;
    }
  }
}

} // namespace

STAGEWRIGHT_ROW_KERNELS(layer_norm, RowNormArguments)
STAGEWRIGHT_ROW_KERNELS(rms_norm, RowNormArguments)
STAGEWRIGHT_ROW_KERNELS(norm_grad, RowNormArguments)
STAGEWRIGHT_ROW_KERNELS(normalize, RowNormArguments)
STAGEWRIGHT_ROW_KERNELS(normalize_grad, RowNormArguments)
STAGEWRIGHT_KERNELS(add_columns, ColumnSumArguments)
STAGEWRIGHT_KERNEL(add_partials, AddPartialsArguments)
