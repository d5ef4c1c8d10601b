// Arguments of rotary positions.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_ROTARYARGUMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_ROTARYARGUMENTS_H

#include <stdint.h>

struct RotaryTableArguments {
  float *table;
  int64_t rows, half; ///< of 2 half elements
  double base;
};

/// x, y: [samples, positions, heads, 2 half]; table: [positions, 2 half], cosines before sines.
struct RotaryArguments {
  const void *x;
  const float *table;
  void *y;
  int64_t rows, positions, heads, half; ///< rows: all heads
  float sign;                           ///< of the sines
  int32_t interleaved;
};

#endif
