// The matrix whose product with a weight is a convolution: a row for each tap of each channel, a column for
// each position of the result. Only pieces of it are ever written.
#ifndef STAGEWRIGHT_KERNELS_HOST_IMAGECOLUMNS_H
#define STAGEWRIGHT_KERNELS_HOST_IMAGECOLUMNS_H

#include "kernels/host/Tiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// One dimension: tap `a` of position p reads source element p * stride + first + a * step, or 0 outside of
/// the source.
struct Axis {
  std::int64_t size, positions, stride, first, step, taps;

  STAGEWRIGHT_INLINE std::int64_t offset(std::int64_t tap) const { return first + tap * step; }
  /// The positions whose tap lies in the source.
  STAGEWRIGHT_INLINE Range inside(std::int64_t tap) const {
    const std::int64_t from = offset(tap);
    if (stride == 1)
      return {least(from >= 0 ? 0 : -from, positions), least(from >= size ? 0 : size - from, positions)};
    const std::int64_t begin = from >= 0 ? 0 : ceilDivide(-from, stride),
                       end = from >= size ? 0 : (size - 1 - from) / stride + 1;
    return {least(begin, positions), least(end, positions)};
  }
};

/// Lanes [begin, end) of from[0 .. 16), zeros in the others. Reads no others.
template <typename T>
STAGEWRIGHT_INLINE Vec16 loadLanes(const T *from, std::int64_t begin, std::int64_t end) {
  if (begin <= 0 && end >= kLanes)
    return load(from);
  begin = begin < 0 ? 0 : begin;
  end = least(end, kLanes);
  if (begin >= end)
    return Vec16{};
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  const __mmask16 mask = __mmask16((1u << end) - (1u << begin));
  if constexpr (sizeof(T) == sizeof(float)) {
    return Vec16(_mm512_maskz_loadu_ps(mask, from));
  } else {
    T halves[kLanes];
    const __m256i bits = _mm256_maskz_loadu_epi16(mask, from);
    __builtin_memcpy(halves, &bits, sizeof(halves));
    return load(halves);
  }
#else
  T values[kLanes] = {};
  for (std::int64_t lane = begin; lane < end; ++lane)
    values[lane] = from[lane];
  return load(values);
#endif
}

/// Likewise of from[0], from[stride], from[2 * stride] ...
template <typename T>
STAGEWRIGHT_INLINE Vec16 loadStrided(const T *from, std::int64_t stride, std::int64_t begin,
                                     std::int64_t end) {
  if (stride == 1)
    return loadLanes(from, begin, end);
  begin = begin < 0 ? 0 : begin;
  end = least(end, kLanes);
  if (begin >= end)
    return Vec16{};
  if (stride == 2)
    return __builtin_shufflevector(loadLanes(from, 2 * begin, 2 * end - 1),
                                   loadLanes(from + kLanes, 2 * begin - kLanes, 2 * end - 1 - kLanes), 0, 2,
                                   4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  Vec16 out{};
  for (std::int64_t lane = begin; lane < end; ++lane)
    out[lane] = readOne(from + lane * stride);
  return out;
}

template <typename T>
struct ImageColumns {
  const T *source; ///< sample 0, channel 0 of the group
  std::int64_t sampleStride, channelStride;
  Axis rows, columns;

  std::int64_t taps() const { return rows.taps * columns.taps; }
  std::int64_t positions() const { return rows.positions * columns.positions; } ///< of one sample

  /// Writes matrix[steps, positions] to `to`, rows `stride` apart. Steps are numbered by channel, then by
  /// tap; positions by sample, then by row and column.
  STAGEWRIGHT_INLINE void write(Range steps, Range positions, float *to, std::int64_t stride) const {
    const std::int64_t all = taps();
    const std::int64_t firstSample = positions.begin / this->positions(),
                       within = positions.begin % this->positions();
    const Place first{firstSample, within / columns.positions, within % columns.positions};
    // Of the first and of the last channel, not all taps may be asked for.
    const Range wholeChannels{steps.begin / all, steps.end / all};
    const std::int64_t before = steps.begin % all, behind = steps.end % all;
    std::int64_t tap = 0;
    for (std::int64_t tapRow = 0; tapRow < rows.taps; ++tapRow)
      for (std::int64_t tapColumn = 0; tapColumn < columns.taps; ++tapColumn, ++tap) {
        const Range channels{wholeChannels.begin + (tap < before), wholeChannels.end + (tap < behind)};
        if (channels.size() > 0)
          writeTap(channels, tapRow, tapColumn, first, positions.size(),
                   to + (channels.begin * all + tap - steps.begin) * stride, all * stride);
      }
  }

private:
  struct Place {
    std::int64_t sample, row, column;
  };

  STAGEWRIGHT_INLINE void writeTap(Range channels, std::int64_t tapRow, std::int64_t tapColumn, Place place,
                                   std::int64_t length, float *to, std::int64_t toStride) const {
    const std::int64_t down = rows.offset(tapRow), right = columns.offset(tapColumn);
    const Range inside = columns.inside(tapColumn);
    for (std::int64_t at = 0; at < length;) {
      const std::int64_t run = least(columns.positions - place.column, length - at);
      const std::int64_t y = place.row * rows.stride + down;
      const bool exists = y >= 0 && y < rows.size;
      const T *const from = source + place.sample * sampleStride + channels.begin * channelStride +
                            y * columns.size + place.column * columns.stride + right;
      writeRun(from, channels.size(), exists ? inside.begin - place.column : run,
               exists ? inside.end - place.column : run, run, to + at, toStride);
      at += run;
      place.column = 0;
      if (++place.row == rows.positions) {
        place.row = 0;
        ++place.sample;
      }
    }
  }

  /// `length` neighbouring positions of one tap, for several channels; those outside of [begin, end) are
  /// zero.
  STAGEWRIGHT_INLINE void writeRun(const T *from, std::int64_t channels, std::int64_t begin, std::int64_t end,
                                   std::int64_t length, float *to, std::int64_t toStride) const {
    const std::int64_t stride = columns.stride;
    for (std::int64_t i = 0; i < length; i += kLanes) {
      const std::int64_t count = least(kLanes, length - i), last = least(end, length) - i;
      const T *source = from + i * stride;
      float *out = to + i;
      if (count == kLanes)
        for (std::int64_t channel = 0; channel < channels;
             ++channel, source += channelStride, out += toStride)
          store(out, loadStrided(source, stride, begin - i, last));
      else
        for (std::int64_t channel = 0; channel < channels;
             ++channel, source += channelStride, out += toStride)
          storeFirst(out, loadStrided(source, stride, begin - i, last), count);
    }
  }
};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
