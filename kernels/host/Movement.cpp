// Family movement: elements change places, never bits.
#include "kernels/host/Strides.h"
#include "kernels/host/Transpose.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

template <typename T>
void copyRun(const T *from, T *to, std::int64_t count) {
  __builtin_memcpy(to, from, std::size_t(count) * sizeof(T));
}
template <typename T>
void zeroRun(T *to, std::int64_t count) {
  __builtin_memset(to, 0, std::size_t(count) * sizeof(T));
}

/// y, row by row, from where `source` says.
template <typename T>
void gather(const T *x, Strides source, T *y, TileRunner &runner) {
  const std::int64_t elements = source.elements();
  std::int64_t length = 1, stride = 1;
  source.takeInner(length, stride);
  runElements(runner, elements, [&](Range range) {
    const Range rows{range.begin / length, ceilDivide(range.end, length)};
    source.each(rows, [&](std::int64_t row, std::int64_t offset) {
      const std::int64_t begin = row == rows.begin ? range.begin - row * length : 0;
      const std::int64_t end = least(length, range.end - row * length);
      T *const to = y + row * length;
      if (stride == 1)
        copyRun(x + offset + begin, to + begin, end - begin);
      else
        for (std::int64_t i = begin; i < end; ++i)
          to[i] = x[offset + i * stride];
    });
  });
}

STAGEWRIGHT_INLINE Vec16 loadBits(const float *from, std::int64_t count) {
  return loadFirst(from, count);
}
STAGEWRIGHT_INLINE void storeBits(float *to, Vec16 value, std::int64_t count) {
  storeFirst(to, value, count);
}
template <typename Half>
STAGEWRIGHT_INLINE Vec16 loadBits(const Half *from, std::int64_t count) {
  return Vec16(__builtin_convertvector(loadFirstHalves(from, count), Unsigned16));
}
template <typename Half>
STAGEWRIGHT_INLINE void storeBits(Half *to, Vec16 value, std::int64_t count) {
  storeFirstHalves(to, __builtin_convertvector(Unsigned16(value), Half16), count);
}

/// Elements of one piece of a transposition: rows and columns of y.
constexpr std::int64_t kPieceRows = 64, kPieceColumns = 256;

/// y[row * yStride + column] = x[row + column * xStride]
template <typename T>
void transposePiece(const T *x, std::int64_t xStride, T *y, std::int64_t yStride, Range rows, Range columns) {
  for (std::int64_t row = rows.begin; row < rows.end; row += kLanes)
    for (std::int64_t column = columns.begin; column < columns.end; column += kLanes) {
      const std::int64_t height = least(kLanes, rows.end - row), width = least(kLanes, columns.end - column);
      Vec16 lanes[kLanes] = {};
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        if (i < width)
          lanes[i] = loadBits(x + row + (column + i) * xStride, height);
      transpose(lanes);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        if (i < height)
          storeBits(y + (row + i) * yStride + column, lanes[i], width);
    }
}

template <typename T>
void permute(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  T *const y = static_cast<T *>(operands[1]);
  std::int64_t strides[8] = {};
  rowMajor(call.operands[0], strides);
  Strides source;
  for (int i = 0; i < call.operands[1].rank; ++i)
    source.add(call.size(1, i), strides[call.lists[0].values[i]]);
  if (source.rank == 0 || source.strides[source.rank - 1] == 1) {
    gather(x, source, y, runner);
    return;
  }
  // The columns of y lie apart in x; the dimension that lies together there gives the rows. The rest is
  // outer.
  std::int64_t columns = 1, xStride = 1, rows = 1, yStride = 1, stride = source.sizes[source.rank - 1];
  Strides outer, outerOfY;
  source.takeInner(columns, xStride);
  std::int64_t ofY[8] = {};
  for (int i = source.rank - 1; i >= 0; --i) {
    ofY[i] = stride;
    stride *= source.sizes[i];
  }
  for (int i = 0; i < source.rank; ++i)
    if (source.strides[i] == 1) {
      rows = source.sizes[i];
      yStride = ofY[i];
    } else { // not joined: both must have the same dimensions
      outer.sizes[outer.rank] = outerOfY.sizes[outer.rank] = source.sizes[i];
      outer.strides[outer.rank] = source.strides[i];
      outerOfY.strides[outer.rank] = ofY[i];
      outerOfY.rank = ++outer.rank;
    }
  const std::int64_t down = ceilDivide(rows, kPieceRows), across = ceilDivide(columns, kPieceColumns);
  const std::int64_t pieces = outer.elements() * down * across;
  const std::int64_t tiles = least(pieces, elementTiles(call.elements(0)));
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    const Range range = part(pieces, tiles, index);
    for (std::int64_t piece = range.begin; piece < range.end; ++piece) {
      const std::int64_t place = piece / (down * across), inside = piece % (down * across);
      transposePiece(x + outer.offset(place), xStride, y + outerOfY.offset(place), yStride,
                     part(rows, down, inside / across), part(columns, across, inside % across));
    }
  });
}

template <typename T>
void slice(const Call &call, void *const *operands, void *, TileRunner &runner) {
  std::int64_t strides[8] = {}, begin = 0;
  rowMajor(call.operands[0], strides);
  Strides source;
  for (int i = 0; i < call.operands[1].rank; ++i) {
    source.add(call.size(1, i), strides[i]);
    begin += call.lists[0].values[i] * strides[i];
  }
  gather(static_cast<const T *>(operands[0]) + begin, source, static_cast<T *>(operands[1]), runner);
}

/// dx is seen as rows that end with its innermost dimension that is not wholly in the slice.
template <typename T>
void sliceGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]);
  T *const dx = static_cast<T *>(operands[1]);
  const std::int64_t *const starts = call.lists[0].values;
  std::int64_t length = 1, copied = 1, start = 0;
  int outer = call.operands[1].rank; // dimensions outside of the rows
  while (outer > 0 && copied == length) {
    --outer;
    start = starts[outer] * length;
    copied = call.size(0, outer) * length;
    length *= call.size(1, outer);
  }
  runElements(runner, call.elements(1), [&](Range range) {
    eachRow(range, length, [&](std::int64_t row, std::int64_t begin, std::int64_t end) {
      std::int64_t of = 0, stride = 1, rest = row; // the row of g
      bool inside = true;
      for (int i = outer - 1; i >= 0; --i) {
        const std::int64_t position = rest % call.size(1, i) - starts[i];
        inside &= position >= 0 && position < call.size(0, i);
        of += position * stride;
        stride *= call.size(0, i);
        rest /= call.size(1, i);
      }
      T *const to = dx + row * length;
      const auto clamp = [&](std::int64_t i) { return i < begin ? begin : least(i, end); };
      const std::int64_t from = inside ? clamp(start) : end, until = inside ? clamp(start + copied) : end;
      zeroRun(to + begin, from - begin);
      if (from < until)
        copyRun(g + of * copied + from - start, to + from, until - from);
      zeroRun(to + until, end - until);
    });
  });
}

template <typename T>
void concat(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const a = static_cast<const T *>(operands[0]), *const b = static_cast<const T *>(operands[1]);
  T *const y = static_cast<T *>(operands[2]);
  std::int64_t first = 1, second = 1; // of each row of y
  for (int i = int(call.integers[0]); i < call.operands[0].rank; ++i) {
    first *= call.size(0, i);
    second *= call.size(1, i);
  }
  runElements(runner, call.elements(2), [&](Range range) {
    eachRow(range, first + second, [&](std::int64_t row, std::int64_t begin, std::int64_t end) {
      T *const to = y + row * (first + second);
      if (begin < first)
        copyRun(a + row * first + begin, to + begin, least(first, end) - begin);
      if (end > first) {
        const std::int64_t from = begin < first ? first : begin;
        copyRun(b + row * second + from - first, to + from, end - from);
      }
    });
  });
}

const HostKernel kKernels[] = {
    STAGEWRIGHT_FOR_ELEMENTS("permute", 1, permute), STAGEWRIGHT_FOR_ELEMENTS("slice", 1, slice),
    STAGEWRIGHT_FOR_ELEMENTS("slice_grad", 1, sliceGrad), STAGEWRIGHT_FOR_ELEMENTS("concat", 1, concat)};

} // namespace

extern const Family Movement = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
