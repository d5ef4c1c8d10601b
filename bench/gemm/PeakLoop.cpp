#include "PeakLoop.h"

namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kChains = 24;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kChains = 12;
#else
constexpr int kWidth = 4, kChains = 12;
#endif
using Vector = float __attribute__((vector_size(kWidth * sizeof(float))));

} // namespace

double peakLoop(long rounds) {
  Vector sums[kChains] = {}, factor = Vector{} + 0.5f, term = Vector{} + 1.0f;
  asm volatile("" : "+v"(factor), "+v"(term)); // not constants to the compiler
  for (long round = 0; round < rounds; ++round)
#pragma GCC unroll 32
    for (int chain = 0; chain < kChains; ++chain)
      sums[chain] = __builtin_elementwise_fma(sums[chain], factor, term);
#pragma GCC unroll 32
  for (int chain = 0; chain < kChains; ++chain)
    asm volatile("" ::"v"(sums[chain]));
  return 2.0 * double(rounds) * kChains * kWidth;
}
