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
    // Element 4 i + word is lane i of w[word]: pairs of words, then pairs of pairs.
    const Bits16 a = interleaveLow(w[0], w[1]), b = interleaveLow(w[2], w[3]);
    const Bits16 c = interleaveHigh(w[0], w[1]), d = interleaveHigh(w[2], w[3]);
    out[0] = interleavePairsLow(a, b);
    out[1] = interleavePairsHigh(a, b);
    out[2] = interleavePairsLow(c, d);
    out[3] = interleavePairsHigh(c, d);
  }

private:
  STAGEWRIGHT_INLINE static Bits16 interleaveLow(Bits16 a, Bits16 b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  }
  STAGEWRIGHT_INLINE static Bits16 interleaveHigh(Bits16 a, Bits16 b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
  STAGEWRIGHT_INLINE static Bits16 interleavePairsLow(Bits16 a, Bits16 b) {
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23);
  }
  STAGEWRIGHT_INLINE static Bits16 interleavePairsHigh(Bits16 a, Bits16 b) {
    return __builtin_shufflevector(a, b, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31);
  }
};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
