// Launches of kernels on the rows of a matrix.
#ifndef STAGEWRIGHT_KERNELS_CUDA_ROWS_H
#define STAGEWRIGHT_KERNELS_CUDA_ROWS_H

#include "kernels/cuda/Family.h"
#include "kernels/cuda/device/RowLayout.h"

namespace stagewright::cuda {

/// One block for each of `units`, or fewer that go on in strides of the grid.
inline Grid blocksFor(std::int64_t units, unsigned threads = 256) {
  constexpr std::int64_t kMostBlocks = 1 << 24;
  return {{static_cast<unsigned>(std::clamp<std::int64_t>(units, 1, kMostBlocks)), 1, 1}, threads, 0};
}

/// Elements of the call's type in 16 bytes.
inline std::int64_t packOf(const Enqueue &call) {
  return call.call.element == kernels::Element::F32 ? 4 : 8;
}

struct RowLaunch {
  RowLayout layout;
  Grid grid;
};

/// Of a matrix [rows,columns] of the call's element type: as many threads for a row as keep all of it in
/// registers, at least a warp and at most
/// kMostRowThreads.
inline RowLaunch rowLaunch(const Enqueue &call, std::int64_t rows, std::int64_t columns) {
  constexpr int kWarp = 32, kWarps = 4;
  const std::int64_t width = packOf(call);
  const bool isAligned = columns % width == 0;
  const std::int64_t pieces = isAligned ? columns / width : columns;
  const std::int64_t perThread = isAligned ? kHeldPacks : kHeldElements;
  if (pieces <= kWarp * perThread) {
    return {{rows, columns, isAligned, 1}, blocksFor((rows + kWarps - 1) / kWarps, kWarps * kWarp)};
  }
  int threads = kWarps * kWarp;
  while (threads < kMostRowThreads && threads * perThread < pieces) {
    threads *= 2;
  }
  return {{rows, columns, isAligned, 0}, blocksFor(rows, unsigned(threads))};
}

/// acc[column] += sum over the rows of operand 0, g [rows,columns], times (x - mean) rstd; x null: of g
/// alone. Workspace: what the catalogue calls chunkSums.
Result<void> addColumns(const Enqueue &call, const void *x, const float *mean, const float *rstd, float *acc);

} // namespace stagewright::cuda

#endif
