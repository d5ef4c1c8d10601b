// random/Philox.h on sixteen counters at once, and what dropout makes of it.
#ifndef STAGEWRIGHT_KERNELS_HOST_PHILOX16_H
#define STAGEWRIGHT_KERNELS_HOST_PHILOX16_H

#include "kernels/host/Vec16.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

using Wide8 = std::uint64_t __attribute__((vector_size(64)));

STAGEWRIGHT_INLINE Unsigned16 splatUnsigned(std::uint32_t v) {
  return Unsigned16{} + v;
}

/// The upper and the lower halves of the products of each lane with `factor`.
STAGEWRIGHT_INLINE void multiplyWide(Unsigned16 a, std::uint32_t factor, Unsigned16 &high, Unsigned16 &low) {
  const Wide8 pairs = loadAs<Wide8>(&a), lower = Wide8{} + 0xffffffffu;
  const Wide8 even = (pairs & lower) * factor, odd = (pairs >> 32) * factor;
  const Wide8 highs = (even >> 32) | (odd & ~lower), lows = (even & lower) | (odd << 32);
  high = loadAs<Unsigned16>(&highs);
  low = loadAs<Unsigned16>(&lows);
}

/// Lane i of the four words of block i.
struct PhiloxWords {
  Unsigned16 words[4];
};

STAGEWRIGHT_INLINE PhiloxWords philox(PhiloxWords counter, std::uint32_t key0, std::uint32_t key1) {
  Unsigned16 *const c = counter.words;
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9, key1 += 0xBB67AE85) {
    Unsigned16 high0, low0, high2, low2;
    multiplyWide(c[0], 0xD2511F53, high0, low0);
    multiplyWide(c[2], 0xCD9E8D57, high2, low2);
    c[0] = high2 ^ c[1] ^ key0;
    c[1] = low2;
    c[2] = high0 ^ c[3] ^ key1;
    c[3] = low0;
  }
  return counter;
}

/// What lane i of vector k was is lane 4 i + k of the four vectors behind one another.
STAGEWRIGHT_INLINE void interleave(const Bits16 (&w)[4], Bits16 (&out)[4]) {
  const auto low = [](Bits16 a, Bits16 b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  };
  const auto high = [](Bits16 a, Bits16 b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  };
  const auto pairsLow = [](Bits16 a, Bits16 b) {
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23);
  };
  const auto pairsHigh = [](Bits16 a, Bits16 b) {
    return __builtin_shufflevector(a, b, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31);
  };
  // Pairs of words, then pairs of pairs.
  const Bits16 a = low(w[0], w[1]), b = low(w[2], w[3]), c = high(w[0], w[1]), d = high(w[2], w[3]);
  out[0] = pairsLow(a, b);
  out[1] = pairsHigh(a, b);
  out[2] = pairsLow(c, d);
  out[3] = pairsHigh(c, d);
}

/// What a dropout knows of its random numbers: operand `random` = {seed low, seed high, step, micro-batch}.
/// Element e has word e mod 4 of the block with counter {e / 4, block * 65536 + ordinal, step, micro-batch}
/// and key (seed low, seed high). It is kept when its word is at least round(p 2^32).
struct DropoutBits {
  std::uint32_t key0 = 0, key1 = 0, stream = 0, step = 0, microBatch = 0;
  std::uint32_t threshold = 0;
  bool none = false; ///< p is 1: nothing is kept
  float scale = 1;   ///< of what is kept: 1 / (1 - p)

  DropoutBits() = default;
  STAGEWRIGHT_INLINE DropoutBits(const void *random, double p, std::int64_t block, std::int64_t ordinal) {
    const auto *words = static_cast<const std::uint32_t *>(random);
    key0 = words[0];
    key1 = words[1];
    step = words[2];
    microBatch = words[3];
    stream = std::uint32_t(block * 65536 + ordinal);
    const std::uint64_t limit = std::uint64_t(p * 0x1p32 + 0.5);
    none = limit >= std::uint64_t(1) << 32;
    threshold = std::uint32_t(limit);
    scale = none ? 0.0f : float(1.0 / (1.0 - p));
  }

  /// For the 64 elements from `first` (a multiple of 64) on: -1 where an element is kept, else 0.
  STAGEWRIGHT_INLINE void kept(std::int64_t first, Bits16 (&out)[4]) const {
    PhiloxWords counter{{Unsigned16(kLaneNumbers) + std::uint32_t(first / 4), splatUnsigned(stream),
                         splatUnsigned(step), splatUnsigned(microBatch)}};
    const PhiloxWords made = philox(counter, key0, key1);
    Bits16 w[4];
#pragma GCC unroll 4
    for (int word = 0; word < 4; ++word)
      w[word] = none ? Bits16{} : Bits16(made.words[word] >= threshold);
    interleave(w, out);
  }
};

/// By what weights are rounded: operand `rounding` = {seed low, seed high, step, tensor rank + 1, 0: to the
/// nearest}. Element e has word e mod 4 of the block with counter {e / 4, parameter, step, 2^32 - 1}, which
/// no micro-batch has, and the key of dropout.
struct RoundingWords {
  std::uint32_t key0, key1, parameter, step;
  bool draws;

  STAGEWRIGHT_INLINE RoundingWords(const void *rounding, std::int64_t parameter, bool split)
      : parameter(std::uint32_t(parameter)) {
    const auto *words = static_cast<const std::uint32_t *>(rounding);
    key0 = words[0];
    key1 = split ? words[1] ^ 0x9e3779b9u * words[3] : words[1];
    step = words[2];
    draws = words[4] != 0;
  }

  /// Of the 64 elements from `first` (a multiple of 64) on.
  STAGEWRIGHT_INLINE void of(std::int64_t first, Bits16 (&out)[4]) const {
    const PhiloxWords made =
        philox({{Unsigned16(kLaneNumbers) + std::uint32_t(first / 4), splatUnsigned(parameter),
                 splatUnsigned(step), splatUnsigned(0xffffffffu)}},
               key0, key1);
    Bits16 words[4];
#pragma GCC unroll 4
    for (int word = 0; word < 4; ++word)
      words[word] = Bits16(made.words[word]);
    interleave(words, out);
  }
};

/// x rounded to one of its two neighbours among the finite values of T; beyond the largest x itself, which is
/// rounded when it is written. Up when word / 2^32 >= 1 - (|x| - lower) / (upper - lower), to 24 bits.
template <typename T>
STAGEWRIGHT_INLINE Vec16 roundedBy(Unsigned16 word, Vec16 x);
template <>
STAGEWRIGHT_INLINE Vec16 roundedBy<float>(Unsigned16, Vec16 x) {
  return x;
}
template <>
STAGEWRIGHT_INLINE Vec16 roundedBy<BF16>(Unsigned16 word, Vec16 x) {
  const Unsigned16 bits = Unsigned16(x), magnitude = bits & 0x7fffffff;
  return Vec16(magnitude <= 0x7f7f0000 ? (bits + (word >> 16)) & 0xffff0000 : bits);
}
template <>
STAGEWRIGHT_INLINE Vec16 roundedBy<F16>(Unsigned16 word, Vec16 x) {
  const Unsigned16 bits = Unsigned16(x), magnitude = bits & 0x7fffffff;
  const Unsigned16 normal = (bits + (word >> 19)) & 0xffffe000;
  // Below 2^-14 neighbours are 2^-24 apart. What is not that small counts as zero here.
  const Vec16 units = Vec16(magnitude < 0x38800000 ? magnitude : Unsigned16{}) * 0x1p24f;
  const Bits16 lower = __builtin_convertvector(units, Bits16);
  const Bits16 part =
      __builtin_convertvector((units - __builtin_convertvector(lower, Vec16)) * 0x1p24f, Bits16);
  const Bits16 up = Bits16(word >> 8) + part >= 1 << 24; // -1 or 0
  const Vec16 small = __builtin_convertvector(lower - up, Vec16) * 0x1p-24f;
  const Unsigned16 inside = magnitude < 0x38800000 ? Unsigned16(small) | (bits & 0x80000000) : normal;
  return Vec16(magnitude <= 0x477fe000 ? inside : bits);
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
