// How the rows of a matrix fall to the threads of a launch.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_ROWLAYOUT_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_ROWLAYOUT_H

#include <stdint.h>

/// Pieces of a row that a thread keeps in registers: of 16 bytes, or of one element.
constexpr int kHeldPacks = 4, kHeldElements = 8;

/// Of a block: so few that each has registers for its pieces.
constexpr int kMostRowThreads = 512;

struct RowLayout {
  int64_t rows, columns;
  int32_t isAligned; ///< every row starts at a multiple of 16 bytes
  int32_t byWarp;    ///< a row is worked on by one warp, else by a block
};

#endif
