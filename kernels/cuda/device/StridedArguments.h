// Arguments of kernels that move, repeat and sum elements.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_STRIDEDARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_STRIDEDARGUMENTS_H

#include <stdint.h>

/// Where elements lie, outermost dimension first: element (i, j, ...) at i * strides[0] + j * strides[1] +
/// ...
struct Strided {
  int32_t rank;
  int64_t sizes[8], strides[8];
};

// Moves are of units: 16, 8, 4 or 2 bytes that stay together.

/// y[i] = x[place i of source]
struct GatherArguments {
  const void *x;
  void *y;
  int64_t units;
  Strided source;
};

/// For each place of `outer`: y[row * yStride + column] = x[row + column * xStride]
struct TransposeArguments {
  const void *x;
  void *y;
  int64_t outer, rows, columns, xStride, yStride;
  Strided outerOfX, outerOfY;
};

/// dx is zero but for g, its part of sizes `parts` from `starts` on.
struct SliceGradArguments {
  const void *g;
  void *dx;
  int64_t units; ///< of dx
  int32_t rank;
  int64_t sizes[8], starts[8], parts[8];
};

/// Rows of y: one of a, then one of b.
struct ConcatArguments {
  const void *a, *b;
  void *y;
  int64_t units, first, second; ///< of y, of each row of a and of b
};

/// y[i] = scale * x[place i of source]
struct ExpandArguments {
  const void *x;
  void *y;
  int64_t elements;
  float scale;
  int32_t together; ///< whether rows of y are whole packs of 16 bytes, in x as well
  Strided source;
};

/// y[i] = scale * sum of x[place i of kept + place j of summed] over j, in fp64.
struct SumArguments {
  const void *x;
  void *y;
  double scale;
  int64_t sums, terms;
  int64_t chunks, chunk;   ///< terms of each chunk; of several chunks the result is [chunks, sums] in fp64
  int32_t columns;         ///< sums of one block: a power of two
  int32_t besideEachOther; ///< neighbours in x belong to different sums
  Strided kept, summed;
};

#endif
