// Family convolution: products of a weight with what its windows see, gathered into tiles as they are needed.
// Sums are chains of fused products in fp32, in the order of (channel, tap), or of positions.
#include "kernels/cuda/device/ConvolutionArguments.h"
#include "kernels/cuda/device/Device.cuh"

namespace {

/// A product of `left` [rows, depth] and `right` [depth, columns] in tiles of 64 x 64, 256 threads each. A
/// thread has 4 x 4 elements of the result and writes 4 of each tile of a factor:
///
///   thread / 16  rows of the result       thread % 16  its columns, in fours
constexpr int kTile = 64, kDepth = 16, kEach = 4, kThreads = 256;

struct Tiles {
  Pack<float> left[kDepth][kTile / kEach + 1], right[kDepth][kTile / kEach + 1];

  __device__ void multiply(float (&sums)[kEach][kEach]) const {
    for (int k = 0; k < kDepth; ++k) {
      const Pack<float> a = left[k][threadIdx.x / 16], b = right[k][threadIdx.x % 16];
#pragma unroll
      for (int i = 0; i < kEach; ++i)
#pragma unroll
        for (int j = 0; j < kEach; ++j)
          sums[i][j] = fmaf(a.values[i], b.values[j], sums[i][j]);
    }
  }
  __device__ static void put(Pack<float> (&tile)[kDepth][kTile / kEach + 1], int k, int at, float value) {
    tile[k][at / kEach].values[at % kEach] = value;
  }
};

/// Where the image's dimension is met, or -1.
__device__ int meet(const ConvolutionAxis &axis, int32_t start, int32_t tap) {
  int32_t at = start + tap * axis.step;
  if (at < 0)
    return -1;
  if (axis.divisor != 1) {
    if (at % axis.divisor != 0)
      return -1;
    at /= axis.divisor;
  }
  return at < axis.image ? at : -1;
}

/// What one position of the result sees of one group's image.
template <typename T>
struct Window {
  const T *image = nullptr; ///< of the sample and group; null: there is no such position
  int32_t row = 0, column = 0;

  __device__ Window(const ConvolutionArguments &a, int64_t group, int64_t position) {
    const int64_t plane = int64_t(a.down.result) * a.across.result, sample = position / plane;
    if (sample >= a.samples)
      return;
    const auto within = int32_t(position % plane);
    image = static_cast<const T *>(a.image) +
            (sample * a.groups + group) * a.channels * a.down.image * a.across.image;
    row = within / a.across.result * a.down.scale + a.down.offset;
    column = within % a.across.result * a.across.scale + a.across.offset;
  }
  __device__ float at(const ConvolutionArguments &a, uint32_t channel, uint32_t tap) const {
    const int y = meet(a.down, row, int32_t(tap / uint32_t(a.across.taps)));
    const int x = meet(a.across, column, int32_t(tap % uint32_t(a.across.taps)));
    if (y < 0 || x < 0)
      return 0.0f;
    return toFloat(image[(int64_t(channel) * a.down.image + y) * a.across.image + x]);
  }
};

__device__ uint32_t tapsOf(const ConvolutionAxis &down, const ConvolutionAxis &across) {
  return uint32_t(down.taps) * uint32_t(across.taps);
}

template <typename T>
__device__ const T *groupWeight(const ConvolutionArguments &a, int64_t group) {
  return static_cast<const T *>(a.weight) + group * a.rows * a.channels * int64_t(tapsOf(a.down, a.across));
}

template <typename T>
__device__ void writeResult(const ConvolutionArguments &a, int64_t group, int64_t row, int64_t position,
                            float sum) {
  const int64_t plane = int64_t(a.down.result) * a.across.result, channel = group * a.rows + row;
  if (a.bias)
    sum += toFloat(static_cast<const T *>(a.bias)[channel]);
  static_cast<T *>(a.result)[(position / plane * a.groups * a.rows + channel) * plane + position % plane] =
      fromFloat<T>(sum);
}

/// Both conv2d and the gradient of its input; a block for each tile of each group.
template <typename T>
__device__ void convolve(const ConvolutionArguments &a) {
  __shared__ Tiles tiles;
  const uint32_t taps = tapsOf(a.down, a.across), depth = a.channels * taps;
  const int64_t positions = a.samples * a.down.result * a.across.result;
  const int64_t rowTiles = (a.rows + kTile - 1) / kTile, columnTiles = (positions + kTile - 1) / kTile;
  const int thread = int(threadIdx.x);
  for (int64_t tile = blockIdx.x; tile < rowTiles * columnTiles * a.groups; tile += gridDim.x) {
    const int64_t firstRow = tile % rowTiles * kTile, group = tile / rowTiles / columnTiles,
                  firstColumn = tile / rowTiles % columnTiles * kTile;
    const T *const weight = groupWeight<T>(a, group);
    const Window<T> window(a, group, firstColumn + thread % kTile);
    float sums[kEach][kEach] = {};
    for (uint32_t begin = 0; begin < depth; begin += kDepth) {
      const uint32_t ofLeft = begin + uint32_t(thread % kDepth);
      const int64_t weightAt = int64_t(ofLeft / taps) * a.weightChannel + ofLeft % taps;
      for (int i = thread / kDepth; i < kTile; i += kThreads / kDepth) {
        const int64_t row = firstRow + i;
        const bool isIn = ofLeft < depth && row < a.rows;
        Tiles::put(tiles.left, thread % kDepth, i, isIn ? toFloat(weight[row * a.weightRow + weightAt]) : 0);
      }
      for (int i = thread / kTile; i < kDepth; i += kThreads / kTile) {
        const uint32_t k = begin + uint32_t(i);
        Tiles::put(tiles.right, i, thread % kTile,
                   k < depth && window.image ? window.at(a, k / taps, k % taps) : 0);
      }
      barrier();
      tiles.multiply(sums);
      barrier();
    }
    for (int i = 0; i < kEach; ++i)
      for (int j = 0; j < kEach; ++j) {
        const int64_t row = firstRow + thread / 16 * kEach + i,
                      column = firstColumn + thread % 16 * kEach + j;
        if (row < a.rows && column < positions)
          writeResult<T>(a, group, row, column, sums[i][j]);
      }
  }
}

/// The same for groups of few rows: a thread for each element of the result.
template <typename T>
__device__ void convolve_thin(const ConvolutionArguments &a) {
  const uint32_t taps = tapsOf(a.down, a.across);
  const int64_t positions = a.samples * a.down.result * a.across.result;
  for (int64_t at = gridThread(); at < positions * a.groups * a.rows; at += gridThreads()) {
    const int64_t position = at % positions, row = at / positions % a.rows, group = at / positions / a.rows;
    const T *const weight = groupWeight<T>(a, group) + row * a.weightRow;
    const Window<T> window(a, group, position);
    float sum = 0;
    for (uint32_t channel = 0; channel < a.channels; ++channel)
      for (uint32_t tap = 0; tap < taps; ++tap)
        sum = fmaf(toFloat(weight[channel * a.weightChannel + tap]), window.at(a, channel, tap), sum);
    writeResult<T>(a, group, row, position, sum);
  }
}

// ---- The gradient of the weight ----

/// A position of all samples that goes on in fixed steps.
struct Position {
  int64_t sample;
  int32_t within;

  __device__ Position(int64_t position, int32_t plane)
      : sample(position / plane), within(int32_t(position % plane)) {}
  __device__ void advance(int32_t step, int32_t plane) {
    within += step;
    if (within >= plane) {
      sample += within / plane;
      within %= plane;
    }
  }
};

/// A column of the product: (channel, tap) of the weight.
struct Column {
  uint32_t channel = 0;
  int32_t row = 0, column = 0; ///< of the tap

  __device__ Column() {}
  __device__ Column(const ConvolutionWeightArguments &a, uint32_t number) {
    const uint32_t taps = tapsOf(a.down, a.across), tap = number % taps;
    channel = number / taps;
    row = int32_t(tap / uint32_t(a.across.taps));
    column = int32_t(tap % uint32_t(a.across.taps));
  }
  /// Of x at this position.
  template <typename T>
  __device__ float at(const ConvolutionWeightArguments &a, int64_t group, const Position &position) const {
    const int y = meet(a.down, position.within / a.across.result * a.down.scale + a.down.offset, row),
              x = meet(a.across, position.within % a.across.result * a.across.scale + a.across.offset,
                       column);
    if (y < 0 || x < 0)
      return 0.0f;
    const int64_t plane = (position.sample * a.groups + group) * a.channels + channel;
    return toFloat(static_cast<const T *>(a.x)[(plane * a.down.image + y) * a.across.image + x]);
  }
};

template <typename T>
__device__ float gradientAt(const ConvolutionWeightArguments &a, int64_t channel, const Position &position) {
  const int64_t plane = int64_t(a.down.result) * a.across.result;
  return toFloat(
      static_cast<const T *>(a.g)[(position.sample * a.groups * a.rows + channel) * plane + position.within]);
}

template <typename T>
__device__ void convolve_weight(const ConvolutionWeightArguments &a) {
  __shared__ Tiles tiles;
  const uint32_t depth = a.channels * tapsOf(a.down, a.across);
  const int32_t plane = a.down.result * a.across.result;
  const int64_t rowTiles = (a.rows + kTile - 1) / kTile, columnTiles = (int64_t(depth) + kTile - 1) / kTile;
  const int64_t ofGroup = rowTiles * columnTiles, ofChunk = ofGroup * a.groups;
  const int thread = int(threadIdx.x), k = thread % kDepth;
  for (int64_t tile = blockIdx.x; tile < ofChunk * a.chunks; tile += gridDim.x) {
    const int64_t chunk = tile / ofChunk, group = tile % ofChunk / ofGroup,
                  firstRow = tile % rowTiles * kTile, firstColumn = tile % ofGroup / rowTiles * kTile;
    const int64_t begin = chunk * a.chunkPositions, all = a.samples * plane,
                  end = begin + a.chunkPositions < all ? begin + a.chunkPositions : all;
    Position position(begin + k, plane);
    Column columns[kTile * kDepth / kThreads]; // that this thread reads
#pragma unroll
    for (int i = 0; i < kTile * kDepth / kThreads; ++i)
      columns[i] = Column(a, uint32_t(firstColumn + thread / kDepth + i * (kThreads / kDepth)));
    float sums[kEach][kEach] = {};
    for (int64_t at = begin; at < end; at += kDepth) {
      const bool isIn = at + k < end;
#pragma unroll
      for (int i = 0; i < kTile * kDepth / kThreads; ++i) {
        const int in = thread / kDepth + i * (kThreads / kDepth);
        const bool hasRow = isIn && firstRow + in < a.rows, hasColumn = isIn && firstColumn + in < depth;
        Tiles::put(tiles.left, k, in,
                   hasRow ? gradientAt<T>(a, group * a.rows + firstRow + in, position) : 0);
        Tiles::put(tiles.right, k, in, hasColumn ? columns[i].template at<T>(a, group, position) : 0);
      }
      barrier();
      tiles.multiply(sums);
      barrier();
      position.advance(kDepth, plane);
    }
    float *const to = a.partials ? a.partials + chunk * a.groups * a.rows * depth : a.acc;
    for (int i = 0; i < kEach; ++i)
      for (int j = 0; j < kEach; ++j) {
        const int64_t row = firstRow + thread / 16 * kEach + i,
                      column = firstColumn + thread % 16 * kEach + j;
        if (row < a.rows && column < depth) {
          float &element = to[(group * a.rows + row) * depth + column];
          element = a.partials ? sums[i][j] : element + sums[i][j];
        }
      }
  }
}

/// The same for groups of few rows: a block for each element of the weight.
template <typename T>
__device__ void convolve_weight_thin(const ConvolutionWeightArguments &a) {
  const uint32_t depth = a.channels * tapsOf(a.down, a.across);
  const int32_t plane = a.down.result * a.across.result;
  for (int64_t element = blockIdx.x; element < a.groups * a.rows * depth; element += gridDim.x) {
    const int64_t channel = element / depth;
    const Column column(a, uint32_t(element % depth));
    Position position(threadIdx.x, plane);
    float sum = 0;
    for (int64_t at = threadIdx.x; at < a.samples * plane; at += blockDim.x) {
      sum = fmaf(gradientAt<T>(a, channel, position), column.template at<T>(a, channel / a.rows, position),
                 sum);
      position.advance(int32_t(blockDim.x), plane);
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0)
      a.acc[element] += sum;
  }
}

// ---- What the library leaves to do, and partial sums ----

template <typename T>
__device__ void convolution_sum(const ConvolutionSumArguments &a) {
  for (int64_t i = gridThread(); i < a.elements; i += gridThreads()) {
    float sum = 0;
    for (int64_t k = 0; k < a.count; ++k)
      sum += toFloat(static_cast<const T *>(a.values)[k * a.elements + i]);
    a.acc[i] += sum;
  }
}

template <typename T>
__device__ void convolution_bias(const ConvolutionBiasArguments &a) {
  T *const y = static_cast<T *>(a.y);
  for (int64_t i = gridThread(); i < a.elements; i += gridThreads())
    y[i] = fromFloat<T>(toFloat(y[i]) + toFloat(static_cast<const T *>(a.bias)[i / a.plane % a.channels]));
}

} // namespace

STAGEWRIGHT_KERNELS(convolve, ConvolutionArguments)
STAGEWRIGHT_KERNELS(convolve_thin, ConvolutionArguments)
STAGEWRIGHT_KERNELS(convolve_weight, ConvolutionWeightArguments)
STAGEWRIGHT_KERNELS(convolve_weight_thin, ConvolutionWeightArguments)
STAGEWRIGHT_KERNELS(convolution_sum, ConvolutionSumArguments)
STAGEWRIGHT_KERNELS(convolution_bias, ConvolutionBiasArguments)
