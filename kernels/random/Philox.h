// Philox 4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"): 128 random bits as a
// function of a counter and a key. What draws values and what names streams by it says how in its own header
// (runtime/train/Random.h).
//
// Also for files that are compiled once per instruction set (kernels/host/Vec16.h): nothing here is ever a
// symbol, and nothing of the standard library that has inline functions is included. And for device code,
// which may call what is constexpr.
#ifndef STAGEWRIGHT_RANDOM_PHILOX_H
#define STAGEWRIGHT_RANDOM_PHILOX_H

#include <stdint.h>

namespace stagewright::random {

/// A counter, or what the function makes of it.
struct PhiloxBlock {
  uint32_t words[4];
  [[gnu::always_inline]] constexpr uint32_t operator[](uint64_t index) const { return words[index]; }
};

struct PhiloxKey {
  uint32_t words[2];
};

[[gnu::always_inline]] constexpr PhiloxBlock philox(PhiloxBlock counter, PhiloxKey key) {
  uint32_t c0 = counter.words[0], c1 = counter.words[1], c2 = counter.words[2], c3 = counter.words[3];
  uint32_t k0 = key.words[0], k1 = key.words[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c0, b = uint64_t{0xCD9E8D57} * c2;
    c0 = uint32_t(b >> 32) ^ c1 ^ k0;
    c1 = uint32_t(b);
    c2 = uint32_t(a >> 32) ^ c3 ^ k1;
    c3 = uint32_t(a);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

} // namespace stagewright::random

#endif
