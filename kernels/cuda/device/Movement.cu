// Family movement: units of bytes change places, never bits.
#include "kernels/cuda/device/Packs.cuh"
#include "kernels/cuda/device/Strided.cuh"

namespace {

template <typename Unit>
__device__ void gather(const GatherArguments &a) {
  for (int64_t i = gridThread(); i < a.units; i += gridThreads())
    static_cast<Unit *>(a.y)[i] = static_cast<const Unit *>(a.x)[placeOf(a.source, i)];
}

constexpr int kTile = 32;

/// Tiles of 32 x 32 through shared memory: both sides are read and written along their rows.
template <typename Unit>
__device__ void transpose(const TransposeArguments &a) {
  __shared__ Unit tile[kTile][kTile + 1]; // a column's elements lie in different banks
  const int64_t down = (a.rows + kTile - 1) / kTile, across = (a.columns + kTile - 1) / kTile;
  const int lane = threadIdx.x % kTile, warp = threadIdx.x / kTile, warps = blockDim.x / kTile;
  for (int64_t piece = blockIdx.x; piece < a.outer * down * across; piece += gridDim.x) {
    const int64_t place = piece / (down * across), inside = piece % (down * across);
    const int64_t row = inside / across * kTile, column = inside % across * kTile;
    const Unit *const x = static_cast<const Unit *>(a.x) + placeOf(a.outerOfX, place);
    Unit *const y = static_cast<Unit *>(a.y) + placeOf(a.outerOfY, place);
    for (int i = warp; i < kTile; i += warps)
      if (row + lane < a.rows && column + i < a.columns)
        tile[i][lane] = x[row + lane + (column + i) * a.xStride];
    barrier();
    for (int i = warp; i < kTile; i += warps)
      if (row + i < a.rows && column + lane < a.columns)
        y[(row + i) * a.yStride + column + lane] = tile[lane][i];
    barrier(); // all have read
  }
}

template <typename Unit>
__device__ void slice_grad(const SliceGradArguments &a) {
  for (int64_t i = gridThread(); i < a.units; i += gridThreads()) {
    int64_t rest = i, from = 0, stride = 1;
    bool inside = true;
    for (int k = a.rank - 1; k >= 0; --k) {
      const int64_t outer = rest / a.sizes[k], position = rest - outer * a.sizes[k] - a.starts[k];
      inside = inside && position >= 0 && position < a.parts[k];
      from += position * stride;
      stride *= a.parts[k];
      rest = outer;
    }
    static_cast<Unit *>(a.dx)[i] = inside ? static_cast<const Unit *>(a.g)[from] : Unit{};
  }
}

template <typename Unit>
__device__ void concat(const ConcatArguments &a) {
  const int64_t width = a.first + a.second;
  for (int64_t i = gridThread(); i < a.units; i += gridThreads()) {
    const int64_t row = i / width, column = i - row * width;
    static_cast<Unit *>(a.y)[i] = column < a.first
                                      ? static_cast<const Unit *>(a.a)[row * a.first + column]
                                      : static_cast<const Unit *>(a.b)[row * a.second + column - a.first];
  }
}

} // namespace

using Unit16 = Pack<uint32_t>;

#define STAGEWRIGHT_UNITS(name, Arguments)                                                                   \
  STAGEWRIGHT_ENTRY(name##_2_kernel, name<uint16_t>, Arguments)                                              \
  STAGEWRIGHT_ENTRY(name##_4_kernel, name<uint32_t>, Arguments)                                              \
  STAGEWRIGHT_ENTRY(name##_8_kernel, name<uint64_t>, Arguments)                                              \
  STAGEWRIGHT_ENTRY(name##_16_kernel, name<Unit16>, Arguments)

STAGEWRIGHT_UNITS(gather, GatherArguments)
STAGEWRIGHT_UNITS(slice_grad, SliceGradArguments)
STAGEWRIGHT_UNITS(concat, ConcatArguments)
STAGEWRIGHT_ENTRY(transpose_2_kernel, transpose<uint16_t>, TransposeArguments)
STAGEWRIGHT_ENTRY(transpose_4_kernel, transpose<uint32_t>, TransposeArguments)
