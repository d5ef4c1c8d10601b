#include "runtime/exec/Compression.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

namespace stagewright::runtime {

/// Ordered as the magnitudes of floats are; infinity and what is no number behind all others.
static std::uint32_t magnitude(float value) {
  return std::bit_cast<std::uint32_t>(value) & 0x7fffffffU;
}

static constexpr std::uint32_t kInfinity = 0x7f800000U;

void Compressor::pack(const float *from, float *residual, float scale, std::byte *to, std::size_t count) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    // A residual of zero leaves the gradient as it is, a negative zero too.
    wanted[i] = residual[i] == 0.0f ? from[i] : from[i] + residual[i] * scale;
    largest = std::max(largest, magnitude(wanted[i]));
  }
  encode(wanted, to, count);
  if (largest >= kInfinity) {
    return;
  }
  unpack(to, sent, count);
  for (std::size_t i = 0; i < count; ++i) {
    residual[i] = (wanted[i] - sent[i]) / scale;
  }
}

//   buckets of magnitudes   [2047 .. b + 1] are sent | b: in part | [b - 1 .. 0] are not
void TopKCompressor::encode(const float *x, std::byte *to, std::size_t count) {
  const auto kept = static_cast<std::size_t>(layout.kept(static_cast<std::int64_t>(count)));
  buckets.fill(0);
  for (std::size_t i = 0; i < count; ++i) {
    ++buckets[magnitude(x[i]) >> kBucketShift];
  }
  std::size_t bucket = buckets.size() - 1, above = 0;
  for (; above + buckets[bucket] < kept; --bucket) {
    above += buckets[bucket];
  }
  const auto key = [&](std::size_t i) { // larger: to be sent first
    return static_cast<std::uint64_t>(magnitude(x[i])) << 32 | (count - 1 - i);
  };
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    candidates[found] = key(i);
    found += magnitude(x[i]) >> kBucketShift == bucket;
  }
  const auto last = candidates.begin() + static_cast<std::ptrdiff_t>(kept - above - 1);
  std::nth_element(candidates.begin(), last, candidates.begin() + static_cast<std::ptrdiff_t>(found),
                   std::greater<>());
  const std::uint64_t least = *last;
  std::byte *value = to, *place = to + kept * sizeof(float);
  for (std::size_t i = 0; i < count; ++i) {
    if (key(i) >= least) {
      const auto index = static_cast<std::uint16_t>(i);
      std::memcpy(value, x + i, sizeof(float));
      std::memcpy(place, &index, sizeof(index));
      value += sizeof(float);
      place += sizeof(index);
    }
  }
  std::memset(place, 0, static_cast<std::size_t>(to + bytes(count) - place));
}

void TopKCompressor::unpack(const std::byte *from, float *to, std::size_t count) {
  const auto kept = static_cast<std::size_t>(layout.kept(static_cast<std::int64_t>(count)));
  const std::byte *place = from + kept * sizeof(float);
  std::memset(to, 0, count * sizeof(float));
  for (std::size_t i = 0; i < kept; ++i) {
    std::uint16_t index = 0;
    std::memcpy(&index, place + i * sizeof(index), sizeof(index));
    std::memcpy(to + index, from + i * sizeof(float), sizeof(float));
  }
}

void OneBitCompressor::encode(const float *x, std::byte *to, std::size_t count) {
  constexpr std::size_t lanes = 16;
  double above[lanes] = {}, below[lanes] = {};
  std::size_t negative[lanes] = {};
  for (std::size_t i = 0; i < count; i += lanes) {
    for (std::size_t lane = 0; lane < std::min(lanes, count - i); ++lane) {
      const double value = x[i + lane];
      const bool isAbove = value >= 0;
      above[lane] += isAbove ? value : 0;
      below[lane] += isAbove ? 0 : value;
      negative[lane] += !isAbove;
    }
  }
  for (std::size_t lane = 1; lane < lanes; ++lane) {
    above[0] += above[lane];
    below[0] += below[lane];
    negative[0] += negative[lane];
  }
  const auto mean = [](double sum, std::size_t of) {
    return of == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(of));
  };
  const float means[] = {mean(above[0], count - negative[0]), mean(below[0], negative[0])};
  std::memcpy(to, means, sizeof(means));
  to += sizeof(means);
  for (std::size_t i = 0; i < count; i += 32, to += sizeof(std::uint32_t)) {
    std::uint32_t signs = 0;
    for (std::size_t bit = 0; bit < std::min<std::size_t>(32, count - i); ++bit) {
      signs |= static_cast<std::uint32_t>(!(x[i + bit] >= 0)) << bit;
    }
    std::memcpy(to, &signs, sizeof(signs));
  }
}

void OneBitCompressor::unpack(const std::byte *from, float *to, std::size_t count) {
  float means[2];
  std::memcpy(means, from, sizeof(means));
  from += sizeof(means);
  for (std::size_t i = 0; i < count; i += 32, from += sizeof(std::uint32_t)) {
    std::uint32_t signs = 0;
    std::memcpy(&signs, from, sizeof(signs));
    for (std::size_t bit = 0; bit < std::min<std::size_t>(32, count - i); ++bit) {
      to[i + bit] = means[signs >> bit & 1];
    }
  }
}

} // namespace stagewright::runtime
