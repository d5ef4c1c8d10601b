// Family pooling: maxima and means of windows. A thread has one element of what is written and reads what
// belongs to it, in order; gradients too, so that nothing is added by two threads.
#include "kernels/cuda/device/Device.cuh"
#include "kernels/cuda/device/PoolingArguments.h"

namespace {

struct Span {
  int64_t begin, end;
  __device__ int64_t size() const { return end - begin; }
};

__device__ int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/// Element `i` of [planes, rows, columns].
struct PlaneElement {
  int64_t plane, row, column;
  __device__ PlaneElement(int64_t i, int64_t rows, int64_t columns) {
    const int64_t line = quotient(i, columns);
    column = i - line * columns;
    plane = quotient(line, rows);
    row = line - plane * rows;
  }
};

// ---- Maxima ----

/// As PyTorch: a NaN wins, of equal maxima the first one is kept. -1: no element is in the window.
template <typename T>
__device__ void max_pool2d(const PoolArguments &a) {
  const T *const x = static_cast<const T *>(a.from);
  const int64_t outputs = a.planes * a.rows.outputs * a.columns.outputs;
  for (int64_t i = gridThread(); i < outputs; i += gridThreads()) {
    const PlaneElement at(i, a.rows.outputs, a.columns.outputs);
    const int64_t top = at.row * a.rows.stride - a.rows.padding,
                  left = at.column * a.columns.stride - a.columns.padding;
    const T *const image = x + at.plane * a.rows.size * a.columns.size;
    float most = -INFINITY;
    int64_t where = -1;
    for (int64_t p = 0; p < a.rows.kernel; ++p) {
      const int64_t row = top + p * a.rows.dilation;
      if (row < 0 || row >= a.rows.size)
        continue;
      for (int64_t q = 0; q < a.columns.kernel; ++q) {
        const int64_t column = left + q * a.columns.dilation;
        if (column < 0 || column >= a.columns.size)
          continue;
        const int64_t element = row * a.columns.size + column;
        const float value = toFloat(image[element]);
        if (where < 0 || value > most || value != value) {
          most = value;
          where = element;
        }
      }
    }
    static_cast<T *>(a.to)[i] = fromFloat<T>(most);
    a.index[i] = int32_t(where);
  }
}

/// What outputs a row or group of columns of the image belongs to: none while first > last.
struct OutputRanges {
  int32_t *first, *last;

  __device__ void clear(int64_t count) {
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
      first[i] = INT32_MAX;
      last[i] = -1;
    }
  }
  /// Integers: their order does not matter. Most calls change nothing.
  __device__ void add(int64_t i, int32_t output) {
    if (output < first[i])
      atomicMin(first + i, output);
    if (output > last[i])
      atomicMax(last + i, output);
  }
};

/// An index may be any element of its image. So a block first looks which output rows have a maximum in each
/// of its rows, and which output columns have one in each group of columns; then each element adds up, in
/// order, the outputs of that rectangle whose index it is: a few where windows are small.
template <typename T>
__device__ void max_pool2d_grad(const MaxPoolGradArguments &a) {
  int32_t *const memory = sharedMemory<int32_t>();
  OutputRanges ofRows{memory, memory + a.bandRows};
  OutputRanges ofColumns{memory + 2 * a.bandRows, memory + 2 * a.bandRows + a.columnGroups};
  const int64_t bands = (a.height + a.bandRows - 1) / a.bandRows, outputs = a.rows * a.columns;
  for (int64_t unit = blockIdx.x; unit < a.planes * bands; unit += gridDim.x) {
    const int64_t plane = unit / bands, begin = unit % bands * a.bandRows * a.width;
    const int64_t end = least(begin + a.bandRows * a.width, a.height * a.width);
    const T *const g = static_cast<const T *>(a.g) + plane * outputs;
    const int32_t *const index = a.index + plane * outputs;
    barrier(); // an earlier unit is done
    ofRows.clear(a.bandRows);
    ofColumns.clear(a.columnGroups);
    barrier();
    for (int64_t i = threadIdx.x; i < outputs; i += blockDim.x)
      if (const int64_t at = index[i]; at >= begin && at < end) {
        const int64_t row = quotient(at - begin, a.width), column = at - begin - row * a.width;
        const int64_t output = quotient(i, a.columns);
        ofRows.add(row, int32_t(output));
        ofColumns.add(column >> a.columnShift, int32_t(i - output * a.columns));
      }
    barrier();
    for (int64_t at = begin + threadIdx.x; at < end; at += blockDim.x) {
      const int64_t row = quotient(at - begin, a.width),
                    group = (at - begin - row * a.width) >> a.columnShift;
      float sum = 0;
      for (int64_t y = ofRows.first[row]; y <= ofRows.last[row]; ++y)
        for (int64_t x = ofColumns.first[group]; x <= ofColumns.last[group]; ++x)
          if (index[y * a.columns + x] == at)
            sum += toFloat(g[y * a.columns + x]);
      static_cast<T *>(a.dx)[plane * a.height * a.width + at] = fromFloat<T>(sum);
    }
  }
}

// ---- Means ----

/// Elements of the image in the window of an output.
__device__ Span windowOf(const PoolWindows &windows, int64_t output) {
  const int64_t begin = output * windows.stride - windows.padding;
  return {begin < 0 ? 0 : begin, least(begin + windows.kernel, windows.size)};
}
/// How many of one dimension the sum is divided by.
__device__ float elementsOf(const PoolWindows &windows, int64_t output, bool countPadding) {
  const int64_t begin = output * windows.stride - windows.padding;
  const int64_t end = least(begin + windows.kernel, windows.size + (countPadding ? windows.padding : 0));
  return float(end - (countPadding || begin > 0 ? begin : 0));
}
__device__ float divisorOf(const PoolArguments &a, int64_t row, int64_t column) {
  return a.divisor != 0.0f ? a.divisor
                           : elementsOf(a.rows, row, a.countPadding != 0) *
                                 elementsOf(a.columns, column, a.countPadding != 0);
}

template <typename T>
__device__ void avg_pool2d(const PoolArguments &a) {
  const T *const x = static_cast<const T *>(a.from);
  const int64_t outputs = a.planes * a.rows.outputs * a.columns.outputs;
  for (int64_t i = gridThread(); i < outputs; i += gridThreads()) {
    const PlaneElement at(i, a.rows.outputs, a.columns.outputs);
    const Span down = windowOf(a.rows, at.row), across = windowOf(a.columns, at.column);
    float sum = 0;
    for (int64_t row = down.begin; row < down.end; ++row)
      for (int64_t column = across.begin; column < across.end; ++column)
        sum += toFloat(x[(at.plane * a.rows.size + row) * a.columns.size + column]);
    static_cast<T *>(a.to)[i] = fromFloat<T>(sum / divisorOf(a, at.row, at.column));
  }
}

/// Outputs whose windows have an element.
__device__ Span outputsOf(const PoolWindows &windows, int64_t element) {
  const int64_t place = element + windows.padding, before = place - windows.kernel;
  return {before < 0 ? 0 : quotient(before, windows.stride) + 1,
          least(quotient(place, windows.stride) + 1, windows.outputs)};
}

template <typename T>
__device__ void avg_pool2d_grad(const PoolArguments &a) {
  const T *const g = static_cast<const T *>(a.from);
  const int64_t elements = a.planes * a.rows.size * a.columns.size;
  for (int64_t i = gridThread(); i < elements; i += gridThreads()) {
    const PlaneElement at(i, a.rows.size, a.columns.size);
    const Span down = outputsOf(a.rows, at.row), across = outputsOf(a.columns, at.column);
    float sum = 0;
    for (int64_t row = down.begin; row < down.end; ++row)
      for (int64_t column = across.begin; column < across.end; ++column)
        sum += toFloat(g[(at.plane * a.rows.outputs + row) * a.columns.outputs + column]) /
               divisorOf(a, row, column);
    static_cast<T *>(a.to)[i] = fromFloat<T>(sum);
  }
}

// ---- Means over parts of the image that are as equal as possible ----

/// Part `output` of `size` elements cut into `outputs` parts, which overlap when they cannot be equal.
__device__ Span adaptivePart(int64_t size, int64_t outputs, int64_t output) {
  return {quotient(output * size, outputs), quotient((output + 1) * size + outputs - 1, outputs)};
}

/// In fp64. With byWarp lane i of a warp adds elements i, i + 32, ... of the part, row by row, then the lanes
/// are added in a tree; else one thread adds them all.
template <typename T>
__device__ void adaptive_avg_pool2d(const PoolArguments &a) {
  const T *const x = static_cast<const T *>(a.from);
  const int64_t outputs = a.planes * a.rows.outputs * a.columns.outputs;
  const int lanes = a.byWarp ? 32 : 1, lane = threadIdx.x % lanes;
  for (int64_t i = gridThread() / lanes; i < outputs; i += gridThreads() / lanes) {
    const PlaneElement at(i, a.rows.outputs, a.columns.outputs);
    const Span down = adaptivePart(a.rows.size, a.rows.outputs, at.row),
               across = adaptivePart(a.columns.size, a.columns.outputs, at.column);
    const int64_t count = down.size() * across.size();
    double sum = 0;
    for (int64_t k = lane; k < count; k += lanes) {
      const int64_t row = quotient(k, across.size()), column = k - row * across.size();
      sum += double(
          toFloat(x[(at.plane * a.rows.size + down.begin + row) * a.columns.size + across.begin + column]));
    }
    if (a.byWarp)
      sum = reduceWarp(sum, Sum());
    if (lane == 0)
      static_cast<T *>(a.to)[i] = fromFloat<T>(float(sum / double(count)));
  }
}

template <typename T>
__device__ void adaptive_avg_pool2d_grad(const PoolArguments &a) {
  const T *const g = static_cast<const T *>(a.from);
  const int64_t elements = a.planes * a.rows.size * a.columns.size;
  for (int64_t i = gridThread(); i < elements; i += gridThreads()) {
    const PlaneElement at(i, a.rows.size, a.columns.size);
    // The parts that have an element are those of the outputs, cut into as many parts as there are elements.
    const Span down = adaptivePart(a.rows.outputs, a.rows.size, at.row),
               across = adaptivePart(a.columns.outputs, a.columns.size, at.column);
    float sum = 0;
    for (int64_t row = down.begin; row < down.end; ++row)
      for (int64_t column = across.begin; column < across.end; ++column) {
        const int64_t count = adaptivePart(a.rows.size, a.rows.outputs, row).size() *
                              adaptivePart(a.columns.size, a.columns.outputs, column).size();
        sum += toFloat(g[(at.plane * a.rows.outputs + row) * a.columns.outputs + column]) / float(count);
      }
    static_cast<T *>(a.to)[i] = fromFloat<T>(sum);
  }
}

} // namespace

STAGEWRIGHT_KERNELS(max_pool2d, PoolArguments)
STAGEWRIGHT_KERNELS(max_pool2d_grad, MaxPoolGradArguments)
STAGEWRIGHT_KERNELS(avg_pool2d, PoolArguments)
STAGEWRIGHT_KERNELS(avg_pool2d_grad, PoolArguments)
STAGEWRIGHT_KERNELS(adaptive_avg_pool2d, PoolArguments)
STAGEWRIGHT_KERNELS(adaptive_avg_pool2d_grad, PoolArguments)
