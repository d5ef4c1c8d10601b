// Family pooling: maxima and means of windows, one image of one channel ("plane") after the other. Rows are
// widened into scratch with their padding, so that the loops over columns need no borders.
#include "kernels/host/LaneSums.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

constexpr float kInfinity = __builtin_inff();

/// Floats of scratch. The catalogue allows rows and windows of 2^15 elements.
constexpr std::int64_t kPaddedRow = (1 << 16) + 64, kPooledRow = (1 << 15) + 64;
constexpr std::int64_t kPlaneBand = kTileScratchBytes / sizeof(float);
static_assert((kPaddedRow + 2 * kPooledRow) * sizeof(float) <= kTileScratchBytes);

/// Windows of one dimension of the image and of the result.
struct Windows {
  std::int64_t kernel, stride, padding, dilation, size, outputs;

  /// Windows before their last tap.
  std::int64_t span() const { return (outputs - 1) * stride + (kernel - 1) * dilation + 1; }
  /// Where tap 0 of an output lies; below 0 in the padding.
  std::int64_t start(std::int64_t output) const { return output * stride - padding; }
  /// The first element of an output's window that exists; `size` or more when none does.
  std::int64_t firstElement(std::int64_t output) const {
    const std::int64_t from = start(output);
    return from >= 0 ? from : from + ceilDivide(-from, dilation) * dilation;
  }
};

/// Of dimension `axis` (0: rows, 1: columns); a kernel without dilation has 1.
Windows windowsOf(const Call &call, int image, int pooled, int axis, bool dilated) {
  return {call.lists[0].values[axis], call.lists[1].values[axis],
          call.lists[2].values[axis], dilated ? call.lists[3].values[axis] : 1,
          call.size(image, 2 + axis), call.size(pooled, 2 + axis)};
}

/// Calls body(plane, scratch) for all planes of [N,C,...].
template <typename Body>
STAGEWRIGHT_INLINE void runPlanes(const Call &call, TileRunner &runner, const Body &body) {
  constexpr std::int64_t kMostTiles = 1 << 20;
  const std::int64_t planes = call.size(0, 0) * call.size(0, 1);
  const std::int64_t elements = call.elements(0) < call.elements(1) ? call.elements(1) : call.elements(0);
  const std::int64_t tiles = least(least(planes, kMostTiles), elementTiles(elements));
  runTiles(runner, tiles, [&](std::int64_t index, int worker) {
    const Range range = part(planes, tiles, index);
    for (std::int64_t plane = range.begin; plane < range.end; ++plane)
      body(plane, static_cast<float *>(runner.scratch(worker)));
  });
}

/// row as floats, `padding` before it and behind it up to columns.span().
template <typename T>
STAGEWRIGHT_INLINE void padRow(const T *row, const Windows &columns, float padding, float *to) {
  eachVector({0, columns.padding}, [&](std::int64_t i, auto) { store(to + i, splat(padding)); });
  eachVector({0, columns.size}, [&](std::int64_t i, auto lanes) {
    write(to + columns.padding + i, read(row + i, lanes), lanes);
  });
  eachVector({columns.padding + columns.size, columns.span()},
             [&](std::int64_t i, auto) { store(to + i, splat(padding)); });
}

/// Every `stride`th float. Whole vectors are read: there is room behind a padded row.
STAGEWRIGHT_INLINE Vec16 readStrided(const float *from, std::int64_t stride, std::int64_t count) {
  if (stride == 1)
    return load(from);
  if (stride == 2)
    return __builtin_shufflevector(load(from), load(from + kLanes), 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22,
                                   24, 26, 28, 30);
  Vec16 out{};
  for (std::int64_t lane = 0; lane < count; ++lane)
    out[lane] = from[lane * stride];
  return out;
}
STAGEWRIGHT_INLINE Vec16 readStrided(const float *from, std::int64_t stride, AllLanes) {
  return readStrided(from, stride, std::int64_t(kLanes));
}

// ---- Maxima ----

/// Folds row `row` of the image, padded in `padded`, into the best values so far and their positions.
STAGEWRIGHT_INLINE void foldMaxima(const float *padded, const Windows &columns, std::int64_t row, float *best,
                                   std::int32_t *index) {
  float *const indexBits = reinterpret_cast<float *>(index);
  eachVector({0, columns.outputs}, [&](std::int64_t i, auto lanes) {
    Vec16 most = read(best + i, lanes), where = read(indexBits + i, lanes);
    const Unsigned16 position = Unsigned16(kLaneNumbers) * std::uint32_t(columns.stride) +
                                std::uint32_t(row * columns.size + columns.start(i));
    for (std::int64_t tap = 0; tap < columns.kernel; ++tap) {
      const std::int64_t offset = tap * columns.dilation;
      const Vec16 value = readStrided(padded + i * columns.stride + offset, columns.stride, lanes);
      const Bits16 update =
          (value > most) | (value != value); // as PyTorch: a NaN wins, the first one is kept
      most = update ? value : most;
      where = update ? Vec16(position + std::uint32_t(offset)) : where;
    }
    write(best + i, most, lanes);
    write(indexBits + i, where, lanes);
  });
}

template <typename T>
void maxPool(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  std::int32_t *const index = static_cast<std::int32_t *>(operands[2]);
  const Windows rows = windowsOf(call, 0, 1, 0, true), columns = windowsOf(call, 0, 1, 1, true);
  runPlanes(call, runner, [&](std::int64_t plane, float *padded) {
    float *const best = padded + kPaddedRow;
    const T *const image = x + plane * rows.size * columns.size;
    for (std::int64_t output = 0; output < rows.outputs; ++output) {
      const std::int64_t to = (plane * rows.outputs + output) * columns.outputs;
      const std::int64_t top = rows.firstElement(output);
      for (std::int64_t i = 0; i < columns.outputs; ++i) {
        const std::int64_t left = columns.firstElement(i);
        best[i] = -kInfinity;
        index[to + i] = top < rows.size && left < columns.size ? std::int32_t(top * columns.size + left) : -1;
      }
      for (std::int64_t row = top;
           row < rows.size && row <= rows.start(output) + (rows.kernel - 1) * rows.dilation;
           row += rows.dilation) {
        padRow(image + row * columns.size, columns, -kInfinity, padded);
        foldMaxima(padded, columns, row, best, index + to);
      }
      eachVector({0, columns.outputs},
                 [&](std::int64_t i, auto lanes) { write(y + to + i, read(best + i, lanes), lanes); });
    }
  });
}

/// Bands of a plane are added up in floats in scratch; the outputs of a plane in order.
template <typename T>
void maxPoolGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]);
  const std::int32_t *const index = static_cast<const std::int32_t *>(operands[1]);
  T *const dx = static_cast<T *>(operands[2]);
  const std::int64_t outputs = call.size(0, 2) * call.size(0, 3), size = call.size(2, 2) * call.size(2, 3);
  runPlanes(call, runner, [&](std::int64_t plane, float *sums) {
    for (std::int64_t begin = 0; begin < size; begin += kPlaneBand) {
      const std::int64_t length = least(kPlaneBand, size - begin);
      eachVector({0, length}, [&](std::int64_t i, auto lanes) { write(sums + i, Vec16{}, lanes); });
      for (std::int64_t block = 0; block < outputs; block += kLanes) {
        const std::int64_t count = least(kLanes, outputs - block);
        const Vec16 values = loadFirst(g + plane * outputs + block, count);
        for (std::int64_t lane = 0; lane < count; ++lane) {
          const std::int64_t at = index[plane * outputs + block + lane] - begin;
          if (at >= 0 && at < length)
            sums[at] += values[lane];
        }
      }
      eachVector({0, length}, [&](std::int64_t i, auto lanes) {
        write(dx + plane * size + begin + i, read(sums + i, lanes), lanes);
      });
    }
  });
}

// ---- Means ----

/// What a window's sum is divided by.
struct Divisors {
  Windows rows, columns;
  bool countPadding;
  float override; ///< or 0

  STAGEWRIGHT_INLINE Divisors(const Call &call, int image, int pooled)
      : rows(windowsOf(call, image, pooled, 0, false)), columns(windowsOf(call, image, pooled, 1, false)),
        countPadding(call.integers[3] != 0), override(float(call.integers[4])) {}

  /// Elements of one dimension that count.
  float elements(const Windows &windows, std::int64_t output) const {
    const std::int64_t begin = windows.start(output);
    const std::int64_t end =
        least(begin + windows.kernel, windows.size + (countPadding ? windows.padding : 0));
    return float(end - (countPadding || begin > 0 ? begin : 0));
  }
  /// to[i]: elements of the columns of output i.
  void fillColumns(float *to) const {
    for (std::int64_t i = 0; i < columns.outputs; ++i)
      to[i] = elements(columns, i);
  }
  STAGEWRIGHT_INLINE Vec16 get(float ofRows, Vec16 ofColumns) const {
    return override != 0.0f ? splat(override) : ofRows * ofColumns;
  }
};

template <typename T>
void averagePool(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  const Divisors divisors(call, 0, 1);
  const Windows rows = divisors.rows, columns = divisors.columns;
  runPlanes(call, runner, [&](std::int64_t plane, float *padded) {
    float *const sums = padded + kPaddedRow, *const counts = sums + kPooledRow;
    divisors.fillColumns(counts);
    for (std::int64_t output = 0; output < rows.outputs; ++output) {
      eachVector({0, columns.outputs}, [&](std::int64_t i, auto) { store(sums + i, Vec16{}); });
      const std::int64_t end = least(rows.size, rows.start(output) + rows.kernel);
      for (std::int64_t row = rows.firstElement(output); row < end; ++row) {
        padRow(x + (plane * rows.size + row) * columns.size, columns, 0.0f, padded);
        eachVector({0, columns.outputs}, [&](std::int64_t i, auto lanes) {
          Vec16 sum = load(sums + i);
          for (std::int64_t tap = 0; tap < columns.kernel; ++tap)
            sum = sum + readStrided(padded + i * columns.stride + tap, columns.stride, lanes);
          store(sums + i, sum);
        });
      }
      const float ofRows = divisors.elements(rows, output);
      T *const to = y + (plane * rows.outputs + output) * columns.outputs;
      eachVector({0, columns.outputs}, [&](std::int64_t i, auto lanes) {
        write(to + i, load(sums + i) / divisors.get(ofRows, load(counts + i)), lanes);
      });
    }
  });
}

/// sums[i * stride + tap] += shares[i] for the windows of one row. Taps descend, so that the windows of an
/// element are added in order.
STAGEWRIGHT_INLINE void spread(const float *shares, const Windows &columns, float *sums) {
  for (std::int64_t tap = columns.kernel - 1; tap >= 0; --tap) {
    float *const to = sums + tap;
    if (columns.stride == 1)
      eachVector({0, columns.outputs}, [&](std::int64_t i, auto lanes) {
        write(to + i, read(to + i, lanes) + load(shares + i), lanes);
      });
    else
      for (std::int64_t i = 0; i < columns.outputs; ++i)
        to[i * columns.stride] += shares[i];
  }
}

template <typename T>
void averagePoolGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]);
  T *const dx = static_cast<T *>(operands[1]);
  const Divisors divisors(call, 1, 0);
  const Windows rows = divisors.rows, columns = divisors.columns;
  const std::int64_t padded = columns.padding + columns.size, span = columns.span();
  runPlanes(call, runner, [&](std::int64_t plane, float *sums) {
    float *const shares = sums + kPaddedRow, *const counts = shares + kPooledRow;
    divisors.fillColumns(counts);
    for (std::int64_t row = 0; row < rows.size; ++row) {
      eachVector({0, padded < span ? span : padded}, [&](std::int64_t i, auto) { store(sums + i, Vec16{}); });
      const std::int64_t last = (row + rows.padding) / rows.stride, before = row + rows.padding - rows.kernel;
      const std::int64_t first = before < 0 ? 0 : before / rows.stride + 1;
      for (std::int64_t output = first; output <= least(last, rows.outputs - 1); ++output) {
        const float ofRows = divisors.elements(rows, output);
        const T *const from = g + (plane * rows.outputs + output) * columns.outputs;
        eachVector({0, columns.outputs}, [&](std::int64_t i, auto lanes) {
          store(shares + i, read(from + i, lanes) / divisors.get(ofRows, load(counts + i)));
        });
        spread(shares, columns, sums);
      }
      T *const to = dx + (plane * rows.size + row) * columns.size;
      eachVector({0, columns.size}, [&](std::int64_t i, auto lanes) {
        write(to + i, read(sums + columns.padding + i, lanes), lanes);
      });
    }
  });
}

// ---- Means over parts of the image that are as equal as possible ----

/// Part `output` of `size` elements cut into `outputs` parts, which overlap when they cannot be equal.
STAGEWRIGHT_INLINE Range adaptivePart(std::int64_t size, std::int64_t outputs, std::int64_t output) {
  return {output * size / outputs, ceilDivide((output + 1) * size, outputs)};
}

template <typename T>
void adaptivePool(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  const std::int64_t height = call.size(0, 2), width = call.size(0, 3), rows = call.size(1, 2),
                     columns = call.size(1, 3);
  runPlanes(call, runner, [&](std::int64_t plane, float *) {
    const T *const image = x + plane * height * width;
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const Range down = adaptivePart(height, rows, i / columns),
                  across = adaptivePart(width, columns, i % columns);
      Double16 total[1] = {};
      const auto add = [&](Range range) {
        addRange(range, total,
                 [&](std::int64_t k, auto lanes, Vec16 *out) { out[0] = read(image + k, lanes); });
      };
      if (columns == 1) // whole rows lie side by side
        add({down.begin * width, down.end * width});
      else
        for (std::int64_t row = down.begin; row < down.end; ++row)
          add({row * width + across.begin, row * width + across.end});
      const double mean = sumLanes(total[0]) / double(down.size() * across.size());
      writeOne(y + plane * rows * columns + i, float(mean));
    }
  });
}

template <typename T>
void adaptivePoolGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]);
  T *const dx = static_cast<T *>(operands[1]);
  const std::int64_t rows = call.size(0, 2), columns = call.size(0, 3), height = call.size(1, 2),
                     width = call.size(1, 3);
  runPlanes(call, runner, [&](std::int64_t plane, float *sums) {
    if (rows == 1 && columns == 1) {
      const Vec16 share = splat(readOne(g + plane) / float(height * width));
      eachVector({plane * height * width, (plane + 1) * height * width},
                 [&](std::int64_t i, auto lanes) { write(dx + i, share, lanes); });
      return;
    }
    for (std::int64_t row = 0; row < height; ++row) {
      eachVector({0, width}, [&](std::int64_t i, auto) { store(sums + i, Vec16{}); });
      const Range down = adaptivePart(rows, height, row); // outputs whose parts have this row
      for (std::int64_t output = down.begin; output < down.end; ++output)
        for (std::int64_t column = 0; column < columns; ++column) {
          const Range across = adaptivePart(width, columns, column);
          const std::int64_t count = adaptivePart(height, rows, output).size() * across.size();
          const float share = readOne(g + (plane * rows + output) * columns + column) / float(count);
          eachVector(across, [&](std::int64_t i, auto lanes) {
            write(sums + i, read(sums + i, lanes) + splat(share), lanes);
          });
        }
      T *const to = dx + (plane * height + row) * width;
      eachVector({0, width},
                 [&](std::int64_t i, auto lanes) { write(to + i, read(sums + i, lanes), lanes); });
    }
  });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("max_pool2d", 1, maxPool),
                               STAGEWRIGHT_FOR_ELEMENTS("max_pool2d_grad", 1, maxPoolGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("avg_pool2d", 1, averagePool),
                               STAGEWRIGHT_FOR_ELEMENTS("avg_pool2d_grad", 1, averagePoolGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("adaptive_avg_pool2d", 1, adaptivePool),
                               STAGEWRIGHT_FOR_ELEMENTS("adaptive_avg_pool2d_grad", 1, adaptivePoolGrad)};

} // namespace

extern const Family Pooling = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
