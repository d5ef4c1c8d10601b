// The random contract: every random value of a run is a stated function of (seed, name of its stream, index),
// so that it depends on no plan, no thread count and no library.
//
// clang-format off
//   hash(name)        FNV-1a, 64 bits, over the bytes of the name
//   word(i)           word i % 4 of Philox 4x32-10 (random/Philox.h) with key (seed low, seed high) and
//                     counter (i / 4 low, i / 4 high, hash low, hash high)
//   uniform(i)        float(c * bound), c = (2 (word(i) >> 8) + 1 - 2^24) / 2^24 in fp64: symmetric, never +-1
//   normal(i)         Wichura's AS 241 (PPND16) of (word(i) + 0.5) / 2^32, in fp64 with an own logarithm
//   integer(i, n)     (word(i) * n) >> 32
//
//   dropout           element e is kept if word e % 4 of Philox with key (seed low, seed high) and counter
//                     (e / 4, 65536 block + ordinal, step from 0, micro-batch of the step) is at least
//                     round(p 2^32); `block` counts the model's blocks, `ordinal` the random ops in it
//   cast_stochastic   element e of parameter n (import order) has word e % 4 of Philox with that key and counter
//                     (e / 4, n, step from 0, 2^32 - 1), which no micro-batch has; for a parameter that tensor ranks
//                     split seed high is exclusive-or 0x9e3779b9 (tensor rank + 1). Away from zero when
//                     word / 2^32 >= 1 - (|x| - lower) / (upper - lower), to 24 bits
// clang-format on
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_RANDOM_H
#define STAGEWRIGHT_RUNTIME_TRAIN_RANDOM_H

#include "random/Philox.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace stagewright::runtime {

std::uint64_t hashName(std::string_view name);

/// The quantile function of the normal distribution, for p in (0, 1).
double normalQuantile(double p);

class RandomStream {
public:
  RandomStream(std::uint64_t seed, std::string_view name) : seed(seed), hash(hashName(name)) {}

  std::uint32_t word(std::uint64_t index) const { return block(index / 4)[index % 4]; }
  std::uint32_t integer(std::uint64_t index, std::uint32_t limit) const {
    return static_cast<std::uint32_t>((std::uint64_t{word(index)} * limit) >> 32);
  }

  /// values[i] = uniform(first + i) in (-bound, bound).
  void fillUniform(std::span<float> values, double bound, std::uint64_t first = 0) const;
  /// values[i] = deviation * normal(first + i).
  void fillNormal(std::span<float> values, double deviation, std::uint64_t first = 0) const;

private:
  random::PhiloxBlock block(std::uint64_t index) const;
  std::uint64_t seed, hash;
};

} // namespace stagewright::runtime

#endif
