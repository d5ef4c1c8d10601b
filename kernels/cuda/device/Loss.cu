// Family loss. The formulas are those of kernels/host/Loss.cpp; sums over rows, and in fp64 over granules,
// are added by one block in a second launch.
#include "kernels/cuda/device/LossArguments.h"
#include "kernels/cuda/device/Rows.cuh"

namespace {

/// At least 0 and at most all rows; times the rows of a sample.
__device__ int64_t validRowsOf(const int32_t *operand, int64_t rows, int64_t rowsPerSample = 1) {
  int64_t valid = *operand;
  if (valid <= 0)
    return 0;
  valid = valid < rows ? valid : rows;
  rowsPerSample = rowsPerSample < rows ? rowsPerSample : rows; // no overflow
  return valid < rows / rowsPerSample + 1 && valid * rowsPerSample < rows ? valid * rowsPerSample : rows;
}

/// scale / divisor, times the loss scale where there is one.
__device__ float gradientScale(double scale, double divisor, const float *lossScale) {
  return float(scale / divisor * (lossScale ? double(*lossScale) : 1.0));
}

/// Numbers from 0 on lie in parts of `size` on ranks in order: the place of `number` in the part of `rank`,
/// -1 when it is in none or in another one.
__device__ int64_t placeInPart(int64_t number, int64_t size, int64_t rank) {
  return number >= 0 && number / size == rank ? number - rank * size : -1;
}

struct RowStatistics {
  float most;         ///< -infinity where all of the row is
  float exponentials; ///< sum of exp(x - most); 0 where all of the row is -infinity
  double sum;         ///< of x, where asked for
};

/// In one pass: each thread has its maximum so far, and multiplies its sum when the maximum grows. Of thread
/// 0.
template <typename T, int N, typename Team>
__device__ RowStatistics statisticsOf(Team team, const T *row, int64_t columns, bool hasSum) {
  float most = -INFINITY, exponentials = 0;
  double sum = 0;
#pragma unroll 4
  for (int64_t column = int64_t(team.thread()) * N; column < columns; column += int64_t(team.threads()) * N) {
    float x[N];
    readPiece(row + column, x);
    float here = most;
    for (int k = 0; k < N; ++k)
      here = fmaxf(here, x[k]);
    const float base = here == -INFINITY ? 0.0f : here;
    if (here != most)
      exponentials *= expf(most - base);
    most = here;
    for (int k = 0; k < N; ++k)
      exponentials += expf(x[k] - base);
    if (hasSum)
      for (int k = 0; k < N; ++k)
        sum += double(x[k]);
  }
  const float all = teamMaximum(most, team), base = all == -INFINITY ? 0.0f : all;
  exponentials = teamSum(most == all ? exponentials : exponentials * expf(most - base), team);
  return {all, exponentials, hasSum ? teamSum(sum, team) : 0.0};
}

/// A NaN or +infinity in the row, or nothing but -infinity, gives NaNs, as in PyTorch.
template <typename T>
__device__ void cross_entropy_rows(const CrossEntropyRowsArguments &a) {
  const int64_t columns = a.layout.columns;
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    const T *const logits = static_cast<const T *>(a.logits) + row * columns;
    const RowStatistics of =
        statisticsOf<T, decltype(width)::kSize>(team, logits, columns, a.smoothing != 0.0f);
    if (team.thread() != 0)
      return;
    const float logSum = of.most == -INFINITY ? NAN : logf(of.exponentials);
    const int32_t label = a.labels[row];
    float distance = label >= 0 && label < columns ? toFloat(logits[label]) - of.most : 0.0f;
    if (a.smoothing != 0.0f)
      distance =
          (1.0f - a.smoothing) * distance + a.smoothing * float(of.sum / double(columns) - double(of.most));
    a.losses[row] = logSum - distance;
    a.logSumExp[row] = of.most + logSum;
  });
}

/// A part that is nothing but -infinity has the log-sum-exp of nothing. +infinity gives NaN, as in the whole
/// row.
template <typename T>
__device__ void vocabulary_statistics(const CrossEntropyRowsArguments &a) {
  const int64_t columns = a.layout.columns;
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    const T *const logits = static_cast<const T *>(a.logits) + row * columns;
    const RowStatistics of = statisticsOf<T, decltype(width)::kSize>(team, logits, columns, true);
    if (team.thread() != 0)
      return;
    const int64_t label = placeInPart(a.labels[row], columns, *a.tensorRank);
    float *const to = a.statistics + row * 3;
    to[0] = (of.most == -INFINITY ? 0.0f : of.most) + logf(of.exponentials);
    to[1] = label < 0 ? 0.0f : toFloat(logits[label]);
    to[2] = float(of.sum);
  });
}

/// Ranks are added in order.
__device__ void vocabulary_rows(const VocabularyRowsArguments &a) {
  for (int64_t row = gridThread(); row < a.rows; row += gridThreads()) {
    const auto ofRank = [&](int64_t rank, int k) { return a.statistics[(rank * a.rows + row) * 3 + k]; };
    float most = -INFINITY, exponentials = 0, logit = 0, sum = 0;
    for (int64_t rank = 0; rank < a.ranks; ++rank)
      most = fmaxf(most, ofRank(rank, 0));
    for (int64_t rank = 0; rank < a.ranks; ++rank) {
      exponentials += expf(ofRank(rank, 0) - most);
      logit += ofRank(rank, 1);
      sum += ofRank(rank, 2);
    }
    const float logSum = logf(exponentials);
    float distance = logit - most;
    if (a.smoothing != 0.0f)
      distance = (1.0f - a.smoothing) * distance + a.smoothing * (sum / float(a.vocabulary) - most);
    a.losses[row] = logSum - distance;
    a.logSumExp[row] = most + logSum;
  }
}

/// One block. A label that is none of the columns gives NaN.
__device__ void mean_of_rows(const MeanOfRowsArguments &a) {
  const int64_t valid = validRowsOf(a.validRows, a.rows, a.rowsPerSample);
  double sum = 0;
  int64_t count = 0;
  for (int64_t row = threadIdx.x; row < valid; row += blockDim.x)
    if (const int32_t label = a.labels[row]; label != a.ignored) {
      sum += label >= 0 && label < a.columns ? double(a.losses[row]) : double(NAN);
      ++count;
    }
  sum = blockSum(sum);
  count = blockSum(count);
  if (threadIdx.x == 0) {
    *a.loss = count == 0 ? 0.0f : float(sum / double(count));
    *a.count = float(count);
  }
}

/// (exp(logit - log_sum_exp) - target) scale; the target is `ofEach` and, in the label's column, `ofLabel`
/// more. A row whose label is ignored is zero, one whose label is no column NaN.
template <typename T>
__device__ void cross_entropy_grad(const CrossEntropyGradArguments &a) {
  const int64_t columns = a.layout.columns;
  const float count = *a.count, scale = count > 0.0f ? gradientScale(a.scale, count, a.lossScale) : 0.0f;
  const float ofLabel = 1.0f - float(a.smoothing), ofEach = float(a.smoothing / double(a.vocabulary));
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const T *const logits = static_cast<const T *>(a.logits) + row * columns;
    T *const dlogits = static_cast<T *>(a.dlogits) + row * columns;
    const int32_t label = a.labels[row];
    const bool isIgnored = label == a.ignored;
    const int64_t place = a.tensorRank ? placeInPart(label, columns, *a.tensorRank) : label;
    const float logSumExp = label >= 0 && label < a.vocabulary ? a.logSumExp[row] : NAN;
#pragma unroll 4
    for (int64_t column = int64_t(team.thread()) * N; column < columns;
         column += int64_t(team.threads()) * N) {
      float x[N];
      readPiece(logits + column, x);
      for (int k = 0; k < N; ++k) {
        const float target = (column + k == place ? ofLabel : 0.0f) + ofEach;
        x[k] = isIgnored ? 0.0f : (expf(x[k] - logSumExp) - target) * scale;
      }
      writePiece(dlogits + column, x);
    }
  });
}

// ---- Means over elements ----

constexpr int64_t kGranule = 16384;

/// A block has one granule; partials[granule] = sum of f(x, target), in fp64.
template <typename T, typename F>
__device__ void sumGranules(const MeanArguments &a, F f) {
  const int64_t valid = validRowsOf(a.validRows, a.rows) * (a.elements / a.rows);
  const int64_t granules = (a.elements + kGranule - 1) / kGranule;
  const T *const x = static_cast<const T *>(a.x);
  for (int64_t granule = blockIdx.x; granule < granules; granule += gridDim.x) {
    const int64_t begin = granule * kGranule, end = begin + kGranule < valid ? begin + kGranule : valid;
    double sum = 0;
    for (int64_t i = begin + int64_t(threadIdx.x) * 4; i < end; i += int64_t(blockDim.x) * 4)
      if (i + 4 <= end) {
        float left[4], right[4];
        readPiece(x + i, left);
        readPiece(a.target + i, right);
        for (int k = 0; k < 4; ++k)
          sum += f(left[k], right[k]);
      } else {
        for (int64_t k = i; k < end; ++k)
          sum += f(toFloat(x[k]), a.target[k]);
      }
    sum = blockSum(sum);
    if (threadIdx.x == 0)
      a.partials[granule] = sum;
  }
}

template <typename T>
__device__ void mse_granules(const MeanArguments &a) {
  sumGranules<T>(a, [](float x, float target) {
    const double difference = double(x - target);
    return difference * difference;
  });
}

/// torch.nn.functional.binary_cross_entropy_with_logits: (1 - target) x + log(1 + exp(-x)), whose second term
/// is max(-x, 0) + log(1 + exp(-|x|)).
template <typename T>
__device__ void bce_granules(const MeanArguments &a) {
  sumGranules<T>(a, [](float x, float target) {
    const float negative = x < 0.0f ? -x : x * 0.0f; // a NaN stays
    return double(fmaf(1.0f - target, x, negative) + log1pf(expf(-fabsf(x))));
  });
}

/// One block.
__device__ void mean_of_granules(const MeanArguments &a) {
  const int64_t valid = validRowsOf(a.validRows, a.rows) * (a.elements / a.rows);
  double sum = 0;
  for (int64_t granule = threadIdx.x; granule * kGranule < valid; granule += blockDim.x)
    sum += a.partials[granule];
  sum = blockSum(sum);
  if (threadIdx.x == 0)
    *a.loss = valid == 0 ? 0.0f : float(sum / double(valid));
}

/// dx = f(x, target) * scale
template <typename T, typename F>
__device__ void meanGrad(const MeanGradArguments &a, F f) {
  const float scale = gradientScale(a.scale, 1.0, a.lossScale);
  eachPiece<4>(a.elements, [&](int64_t i, auto width) {
    constexpr int N = decltype(width)::kSize;
    float x[N], target[N];
    readPiece(static_cast<const T *>(a.x) + i, x);
    readPiece(a.target + i, target);
    for (int k = 0; k < N; ++k)
      x[k] = f(x[k], target[k]) * scale;
    writePiece(static_cast<T *>(a.dx) + i, x);
  });
}

template <typename T>
__device__ void mse_loss_grad(const MeanGradArguments &a) {
  meanGrad<T>(a, [](float x, float target) { return x - target; });
}

template <typename T>
__device__ void bce_with_logits_grad(const MeanGradArguments &a) {
  meanGrad<T>(a, [](float x, float target) { return 1.0f / (1.0f + expf(-x)) - target; });
}

// ---- What evaluation counts, and losses of micro-batches ----

/// Whether the label's column is the first of the largest; a NaN is larger than any number.
template <typename T>
__device__ void correct_rows(const CountCorrectArguments &a) {
  const int64_t columns = a.layout.columns, valid = validRowsOf(a.validRows, a.layout.rows, a.rowsPerSample);
  eachRow<T>(a.layout, [&](int64_t row, auto team, auto width) {
    constexpr int N = decltype(width)::kSize;
    const int32_t label = a.labels[row];
    const bool isKnown = row < valid && label >= 0 && label < columns;
    const T *const logits = static_cast<const T *>(a.logits) + row * columns;
    const float own = isKnown ? toFloat(logits[label]) : 0.0f;
    int better = 0;
    if (isKnown)
      for (int64_t column = int64_t(team.thread()) * N; column < columns;
           column += int64_t(team.threads()) * N) {
        float x[N];
        readPiece(logits + column, x);
        for (int k = 0; k < N; ++k) {
          const bool isBefore = column + k < label, isNaN = x[k] != x[k];
          better |= own != own ? isBefore && isNaN : isNaN || x[k] > own || (isBefore && x[k] == own);
        }
      }
    better = team.reduce(better, 0, [](int p, int q) { return p | q; });
    if (team.thread() == 0)
      a.ofRows[row] = isKnown && better == 0;
  });
}

/// One block.
__device__ void count_correct(const CountCorrectArguments &a) {
  int64_t sum = 0;
  for (int64_t row = threadIdx.x; row < a.layout.rows; row += blockDim.x)
    sum += a.ofRows[row];
  sum = blockSum(sum);
  if (threadIdx.x == 0)
    *a.correct = sum;
}

/// The rows of a column are added in order.
__device__ void mean_loss(const LossesArguments &a) {
  for (int64_t column = gridThread(); column < a.width; column += gridThreads()) {
    double sum = 0;
    for (int64_t row = 0; row < a.rows; ++row)
      sum += double(a.losses[row * a.width + column]);
    a.means[column] = sum / double(a.rows);
  }
}

__device__ void append_loss(const LossesArguments &a) {
  for (int64_t i = gridThread(); i <= a.width; i += gridThreads())
    a.longer[i] = i == 0         ? float(double(a.losses[0]) + a.weight * double(*a.term))
                  : i == a.width ? *a.term
                                 : a.losses[i];
}

__device__ void no_loss(const LossesArguments &a) {
  if (gridThread() == 0)
    *a.longer = 0.0f;
}

} // namespace

STAGEWRIGHT_ROW_KERNELS(cross_entropy_rows, CrossEntropyRowsArguments)
STAGEWRIGHT_ROW_KERNELS(vocabulary_statistics, CrossEntropyRowsArguments)
STAGEWRIGHT_KERNEL(vocabulary_rows, VocabularyRowsArguments)
STAGEWRIGHT_KERNEL(mean_of_rows, MeanOfRowsArguments)
STAGEWRIGHT_ROW_KERNELS(cross_entropy_grad, CrossEntropyGradArguments)
STAGEWRIGHT_KERNELS(mse_granules, MeanArguments)
STAGEWRIGHT_KERNELS(bce_granules, MeanArguments)
STAGEWRIGHT_KERNEL(mean_of_granules, MeanArguments)
STAGEWRIGHT_KERNELS(mse_loss_grad, MeanGradArguments)
STAGEWRIGHT_KERNELS(bce_with_logits_grad, MeanGradArguments)
STAGEWRIGHT_ROW_KERNELS(correct_rows, CountCorrectArguments)
STAGEWRIGHT_KERNEL(count_correct, CountCorrectArguments)
STAGEWRIGHT_KERNEL(mean_loss, LossesArguments)
STAGEWRIGHT_KERNEL(append_loss, LossesArguments)
STAGEWRIGHT_KERNEL(no_loss, LossesArguments)
