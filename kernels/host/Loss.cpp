// Family loss: losses over rows, their gradients, and the count of correct rows. A row is computed by itself;
// results of rows (or granules) lie in the workspace and are added in order by the calling thread.
#include "kernels/host/Math16.h"
#include "kernels/host/Rows.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// valid_rows, at least 0 and at most `rows`; times the rows of a sample.
std::int64_t validRows(const void *operand, std::int64_t rows, std::int64_t rowsPerSample = 1) {
  const std::int64_t valid = *static_cast<const std::int32_t *>(operand);
  // At most `rows` samples, of up to `rows` rows each: no overflow.
  return valid < 0 ? 0 : least(rows, least(valid, rows) * least(rows, rowsPerSample));
}

/// scale / divisor, times the loss scale where there is one.
float gradientScale(double scale, double divisor, const float *lossScale) {
  return float(scale / divisor * (lossScale ? double(*lossScale) : 1.0));
}

struct CrossEntropyRow {
  float loss, logSumExp;
};

/// A NaN in the row, or nothing but -infinity, gives NaNs, as in PyTorch. The loss of a label that is not a
/// column is meanOfRows's affair. `smoothing`: this share of the target is spread over all columns.
template <typename T>
CrossEntropyRow crossEntropyRow(const T *row, std::int64_t columns, std::int32_t label, float smoothing) {
  const float most = largestOfRow(row, columns);
  Vec16 sum{}, distances{};
  eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
    const Vec16 distance = read(row + i, lanes) - most;
    sum = sum + fill(exp(distance), Vec16{}, lanes);
    distances = distances + fill(distance, Vec16{}, lanes);
  });
  const float logSum = log(splat(sumLanes(sum)))[0];
  const bool known = label >= 0 && label < columns;
  float distance = known ? readOne(row + label) - most : 0.0f;
  if (smoothing != 0.0f)
    distance = (1.0f - smoothing) * distance + smoothing * (sumLanes(distances) / float(columns));
  return {logSum - distance, most + logSum};
}

/// Operands loss and count, from the losses of the rows: their mean over the valid rows whose label counts. A
/// label that is none of `columns` gives NaN.
void meanOfRows(const Call &call, void *const *operands, const float *losses, std::int64_t columns) {
  const std::int32_t *const labels = static_cast<const std::int32_t *>(operands[1]);
  const std::int64_t ignored = call.integers[0];
  const std::int64_t valid = validRows(operands[2], call.size(1, 0), call.integers[2]);
  double sum = 0;
  std::int64_t count = 0;
  for (std::int64_t row = 0; row < valid; ++row)
    if (const std::int32_t label = labels[row]; label != ignored) {
      sum += label >= 0 && label < columns ? double(losses[row]) : __builtin_nan("");
      ++count;
    }
  *static_cast<float *>(operands[3]) = count == 0 ? 0.0f : float(sum / double(count));
  *static_cast<float *>(operands[5]) = float(count);
}

template <typename T>
void softmaxCrossEntropy(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  const T *const logits = static_cast<const T *>(operands[0]);
  const std::int32_t *const labels = static_cast<const std::int32_t *>(operands[1]);
  float *const logSumExp = static_cast<float *>(operands[4]), *const losses = static_cast<float *>(workspace);
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const float smoothing = float(call.reals[1]);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const CrossEntropyRow result = crossEntropyRow(logits + row * columns, columns, labels[row], smoothing);
    losses[row] = result.loss;
    logSumExp[row] = result.logSumExp;
  });
  meanOfRows(call, operands, losses, columns);
}

/// What the gradient of every row has: the target is `ofEach` and, in the label's column, `ofLabel` more.
struct CrossEntropyGradient {
  float scale, ofLabel, ofEach;
};

CrossEntropyGradient crossEntropyGradient(double scale, float count, const float *lossScale, double smoothing,
                                          std::int64_t columns) {
  return {count > 0.0f ? gradientScale(scale, double(count), lossScale) : 0.0f, 1.0f - float(smoothing),
          float(smoothing / double(columns))};
}

/// (exp(logit - log_sum_exp) - target) scale of one row. `label`: its column, -1 when that is not among
/// these.
template <typename T>
void crossEntropyGradRow(const T *logits, T *dlogits, std::int64_t columns, std::int64_t label,
                         float logSumExp, const CrossEntropyGradient &of) {
  eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
    const std::int64_t lane = label - i; // of the label
    const Vec16 target =
        (kLaneNumbers == std::int32_t(lane < 0 || lane > kLanes ? -1 : lane) ? splat(of.ofLabel) : Vec16{}) +
        of.ofEach;
    write(dlogits + i, (exp(read(logits + i, lanes) - logSumExp) - target) * of.scale, lanes);
  });
}

template <typename T>
void clearRow(T *row, std::int64_t columns) {
  eachVector({0, columns}, [&](std::int64_t i, auto lanes) { write(row + i, Vec16{}, lanes); });
}

template <typename T>
void softmaxCrossEntropyGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const logits = static_cast<const T *>(operands[0]);
  const std::int32_t *const labels = static_cast<const std::int32_t *>(operands[1]);
  const float *const logSumExp = static_cast<const float *>(operands[2]);
  T *const dlogits = static_cast<T *>(operands[4]);
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1), ignored = call.integers[1];
  const CrossEntropyGradient of =
      crossEntropyGradient(call.reals[0], *static_cast<const float *>(operands[3]),
                           optionalOperand<float>(call, operands, 5), call.reals[2], columns);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const std::int32_t label = labels[row];
    const bool known = label >= 0 && label < columns;
    if (label == ignored)
      clearRow(dlogits + row * columns, columns);
    else
      crossEntropyGradRow(logits + row * columns, dlogits + row * columns, columns, label,
                          known ? logSumExp[row] : __builtin_nanf(""), of);
  });
}

/// A part that is nothing but -infinity has the log-sum-exp of nothing. +infinity gives NaN, as in the whole
/// row.
template <typename T>
void vocabularyStatistics(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const logits = static_cast<const T *>(operands[0]);
  const std::int32_t *const labels = static_cast<const std::int32_t *>(operands[1]);
  const std::int32_t rank = *static_cast<const std::int32_t *>(operands[2]);
  float *const statistics = static_cast<float *>(operands[3]);
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const T *const from = logits + row * columns;
    const float largest = largestOfRow(from, columns), most = largest == -__builtin_inff() ? 0.0f : largest;
    RowSum exponentials;
    Double16 sum{};
    eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
      const Vec16 x = read(from + i, lanes);
      exponentials.add(fill(exp(x - most), Vec16{}, lanes));
      sum += widen(fill(x, Vec16{}, lanes));
    });
    const std::int64_t label = placeInPart(labels[row], columns, rank);
    float *const to = statistics + row * 3;
    to[0] = most + log(splat(exponentials.total()))[0];
    to[1] = label < 0 ? 0.0f : readOne(from + label);
    to[2] = float(sumLanes(sum));
  });
}

/// Every third number.
STAGEWRIGHT_INLINE Vec16 readThirds(const float *from, std::int64_t count) {
  Vec16 out{};
  for (int lane = 0; lane < int(count); ++lane)
    out[lane] = from[3 * lane];
  return out;
}
STAGEWRIGHT_INLINE Vec16 readThirds(const float *from, AllLanes) {
  return readThirds(from, kLanes);
}

/// Sixteen rows at a time; ranks are added in order.
void vocabularyCrossEntropy(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  const float *const statistics = static_cast<const float *>(operands[0]);
  float *const logSumExp = static_cast<float *>(operands[4]), *const losses = static_cast<float *>(workspace);
  const std::int64_t ranks = call.size(0, 0), rows = call.size(0, 1), vocabulary = call.integers[3];
  const float smoothing = float(call.reals[1]);
  runElements(runner, rows, [&](Range range) {
    eachVector(range, [&](std::int64_t row, auto lanes) {
      const auto ofRank = [&](std::int64_t rank, int k) {
        return readThirds(statistics + (rank * rows + row) * 3 + k, lanes);
      };
      Vec16 most = splat(-__builtin_inff()), exponentials{}, logit{}, sum{};
      for (std::int64_t rank = 0; rank < ranks; ++rank)
        most = larger(ofRank(rank, 0), most);
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        exponentials = exponentials + exp(ofRank(rank, 0) - most);
        logit = logit + ofRank(rank, 1);
        sum = sum + ofRank(rank, 2);
      }
      const Vec16 logSum = log(exponentials);
      Vec16 distance = logit - most;
      if (smoothing != 0.0f)
        distance = (1.0f - smoothing) * distance + smoothing * (sum / float(vocabulary) - most);
      write(losses + row, logSum - distance, lanes);
      write(logSumExp + row, most + logSum, lanes);
    });
  });
  meanOfRows(call, operands, losses, vocabulary);
}

template <typename T>
void vocabularyCrossEntropyGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const logits = static_cast<const T *>(operands[0]);
  const std::int32_t *const labels = static_cast<const std::int32_t *>(operands[1]);
  const std::int32_t rank = *static_cast<const std::int32_t *>(operands[2]);
  const float *const logSumExp = static_cast<const float *>(operands[3]);
  T *const dlogits = static_cast<T *>(operands[5]);
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1), ignored = call.integers[1];
  const std::int64_t vocabulary = call.integers[3];
  const CrossEntropyGradient of =
      crossEntropyGradient(call.reals[0], *static_cast<const float *>(operands[4]),
                           optionalOperand<float>(call, operands, 6), call.reals[2], vocabulary);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    const std::int32_t label = labels[row];
    const bool known = label >= 0 && label < vocabulary;
    if (label == ignored)
      clearRow(dlogits + row * columns, columns);
    else
      crossEntropyGradRow(logits + row * columns, dlogits + row * columns, columns,
                          placeInPart(label, columns, rank), known ? logSumExp[row] : __builtin_nanf(""), of);
  });
}

/// The mean of f(x, target) over the valid rows. Sums are in fp64, granule by granule.
template <typename T, typename Function>
STAGEWRIGHT_INLINE void meanOf(const Call &call, void *const *operands, void *workspace, TileRunner &runner,
                               const Function &f) {
  const T *const x = static_cast<const T *>(operands[0]);
  const float *const target = static_cast<const float *>(operands[1]);
  double *const partials = static_cast<double *>(workspace);
  const std::int64_t rows = call.size(0, 0), valid = validRows(operands[2], rows) * (call.elements(0) / rows);
  runGranules(runner, call.elements(0), [&](std::int64_t granule, Range range) {
    Double16 sum{};
    eachVector({range.begin, least(range.end, valid)}, [&](std::int64_t i, auto lanes) {
      sum += f(read(x + i, lanes), read(target + i, lanes), lanes);
    });
    partials[granule] = sumLanes(sum);
  });
  double sum = 0;
  for (std::int64_t granule = 0; granule * kElementsPerTile < valid; ++granule)
    sum += partials[granule];
  *static_cast<float *>(operands[3]) = valid == 0 ? 0.0f : float(sum / double(valid));
}

/// dx = f(x, target) * scale
template <typename T, typename Function>
STAGEWRIGHT_INLINE void meanGrad(const Call &call, void *const *operands, TileRunner &runner,
                                 const Function &f) {
  const T *const x = static_cast<const T *>(operands[0]);
  const float *const target = static_cast<const float *>(operands[1]);
  T *const dx = static_cast<T *>(operands[2]);
  const float scale = gradientScale(call.reals[0], 1.0, optionalOperand<float>(call, operands, 3));
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      write(dx + i, f(read(x + i, lanes), read(target + i, lanes)) * scale, lanes);
    });
  });
}

template <typename T>
void mseLoss(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  meanOf<T>(call, operands, workspace, runner, [](Vec16 x, Vec16 target, auto) {
    const Double16 difference = widen(x - target);
    return difference * difference;
  });
}

template <typename T>
void mseLossGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  meanGrad<T>(call, operands, runner, [](Vec16 x, Vec16 target) { return x - target; });
}

/// torch.nn.functional.binary_cross_entropy_with_logits: (1 - target) x + log(1 + exp(-x)), whose second term
/// is max(-x, 0) + log(1 + exp(-|x|)).
template <typename T>
void bceWithLogits(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  meanOf<T>(call, operands, workspace, runner, [](Vec16 x, Vec16 target, auto lanes) {
    const Vec16 negative = x < 0.0f ? -x : x * 0.0f; // a NaN stays
    const Vec16 loss = fma(1.0f - target, x, negative) + logOnePlus(exp(-absolute(x)));
    return widen(fill(loss, Vec16{}, lanes));
  });
}

template <typename T>
void bceWithLogitsGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  meanGrad<T>(call, operands, runner, [](Vec16 x, Vec16 target) { return 1.0f / (1.0f + exp(-x)) - target; });
}

/// Whether column `label` is the first of the largest; a NaN is larger than any number.
template <typename T>
bool isFirstLargest(const T *row, std::int64_t columns, std::int32_t label) {
  if (label < 0 || label >= columns)
    return false;
  Bits16 strange{};
  eachVector({0, columns}, [&](std::int64_t i, auto lanes) {
    const Vec16 x = read(row + i, lanes);
    strange |= x != x;
  });
  bool anyNaN = false;
  for (int lane = 0; lane < kLanes; ++lane)
    anyNaN |= strange[lane] != 0;
  const float most = largestOfRow(row, columns);
  const auto isTop = [=](std::int64_t column) {
    const float x = readOne(row + column);
    return anyNaN ? x != x : x == most;
  };
  std::int64_t first = 0;
  while (first < label && !isTop(first))
    ++first;
  return first == label && isTop(label);
}

template <typename T>
void countCorrect(const Call &call, void *const *operands, void *workspace, TileRunner &runner) {
  const T *const logits = static_cast<const T *>(operands[0]);
  const std::int32_t *const labels = static_cast<const std::int32_t *>(operands[1]);
  std::int32_t *const correct = static_cast<std::int32_t *>(workspace);
  const std::int64_t rows = call.size(0, 0), columns = call.size(0, 1);
  const std::int64_t valid = validRows(operands[2], rows, call.integers[0]);
  runRows(runner, rows, columns, [&](std::int64_t row, int) {
    correct[row] = row < valid && isFirstLargest(logits + row * columns, columns, labels[row]);
  });
  std::int64_t sum = 0;
  for (std::int64_t row = 0; row < rows; ++row)
    sum += correct[row];
  *static_cast<std::int64_t *>(operands[3]) = sum;
}

void meanLoss(const Call &call, void *const *operands, void *, TileRunner &) {
  const float *const losses = static_cast<const float *>(operands[0]);
  double *const means = static_cast<double *>(operands[1]);
  const std::int64_t width = call.elements(1), rows = call.elements(0) / width;
  for (std::int64_t column = 0; column < width; ++column) {
    double sum = 0;
    for (std::int64_t row = 0; row < rows; ++row)
      sum += double(losses[row * width + column]);
    means[column] = sum / double(rows);
  }
}

void appendLoss(const Call &call, void *const *operands, void *, TileRunner &) {
  const float *const losses = static_cast<const float *>(operands[0]);
  float *const longer = static_cast<float *>(operands[2]);
  const std::int64_t count = call.elements(0);
  const float term = *static_cast<const float *>(operands[1]);
  longer[0] = float(double(losses[0]) + call.reals[0] * double(term));
  for (std::int64_t i = 1; i < count; ++i)
    longer[i] = losses[i];
  longer[count] = term;
}

void noLoss(const Call &, void *const *operands, void *, TileRunner &) {
  *static_cast<float *>(operands[0]) = 0;
}

const HostKernel kKernels[] = {
    STAGEWRIGHT_FOR_ELEMENTS("softmax_cross_entropy", 1, softmaxCrossEntropy),
    STAGEWRIGHT_FOR_ELEMENTS("softmax_cross_entropy_grad", 1, softmaxCrossEntropyGrad),
    STAGEWRIGHT_FOR_ELEMENTS("vocabulary_statistics", 1, vocabularyStatistics),
    {"vocabulary_cross_entropy", 1, vocabularyCrossEntropy},
    STAGEWRIGHT_FOR_ELEMENTS("vocabulary_cross_entropy_grad", 1, vocabularyCrossEntropyGrad),
    STAGEWRIGHT_FOR_ELEMENTS("mse_loss", 1, mseLoss),
    STAGEWRIGHT_FOR_ELEMENTS("mse_loss_grad", 1, mseLossGrad),
    STAGEWRIGHT_FOR_ELEMENTS("bce_with_logits", 1, bceWithLogits),
    STAGEWRIGHT_FOR_ELEMENTS("bce_with_logits_grad", 1, bceWithLogitsGrad),
    STAGEWRIGHT_FOR_ELEMENTS("count_correct", 1, countCorrect),
    {"append_loss", 1, appendLoss},
    {"mean_loss", 1, meanLoss},
    {"no_loss", 1, noLoss}};

} // namespace

extern const Family Loss = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
