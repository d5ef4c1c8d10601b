// Arguments of family loss.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_LOSSARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_LOSSARGUMENTS_H

#include "kernels/cuda/device/RowLayout.h"

/// The loss and log-sum-exp of each row, or the statistics of a part of its columns.
struct CrossEntropyRowsArguments {
  RowLayout layout;
  const void *logits;
  const int32_t *labels;
  float *losses, *logSumExp;
  const int32_t *tensorRank; ///< of vocabulary_statistics
  float *statistics;         ///< likewise
  float smoothing;
};

/// The loss of each row from statistics[ranks,rows,3].
struct VocabularyRowsArguments {
  int64_t ranks, rows, vocabulary;
  const float *statistics;
  float *losses, *logSumExp;
  float smoothing;
};

/// The mean of the losses of the valid rows whose label counts.
struct MeanOfRowsArguments {
  int64_t rows, columns, rowsPerSample, ignored;
  const float *losses;
  const int32_t *labels, *validRows;
  float *loss, *count;
};

struct CrossEntropyGradArguments {
  RowLayout layout;
  const void *logits;
  void *dlogits;
  const int32_t *labels;
  const int32_t *tensorRank; ///< null: all columns are here
  const float *logSumExp, *count;
  const float *lossScale; ///< null: 1
  int64_t vocabulary;     ///< columns of all ranks
  int64_t ignored;
  double scale, smoothing;
};

/// The mean of f(x, target) over the first validRows rows.
struct MeanArguments {
  int64_t rows, elements;
  const void *x;
  const float *target;
  const int32_t *validRows;
  float *loss;
  double *partials; ///< one for each granule
};

struct MeanGradArguments {
  int64_t elements;
  const void *x;
  const float *target;
  void *dx;
  const float *lossScale; ///< null: 1
  double scale;
};

/// Whether the largest logit of each row is that of its label, 1 or 0, and how many are.
struct CountCorrectArguments {
  RowLayout layout;
  int64_t rowsPerSample;
  const void *logits;
  const int32_t *labels, *validRows;
  int32_t *ofRows;
  int64_t *correct;
};

struct LossesArguments {
  int64_t rows, width; ///< of mean_loss; append_loss has `width` losses; no_loss: width 1
  const float *losses, *term;
  float *longer;
  double *means;
  double weight;
};

#endif
