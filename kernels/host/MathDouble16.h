// Elementary functions on sixteen fp64 lanes, the same bits on every instruction set: for tables that are
// made once. Largest errors (tests/kernels/MathTest.cpp): exp and log 1e-15 relative (log: absolute near 1),
// sine and cosine 1e-15 absolute up to |x| = 2^20; beyond, the error grows with |x|.
#ifndef STAGEWRIGHT_KERNELS_HOST_MATHDOUBLE16_H
#define STAGEWRIGHT_KERNELS_HOST_MATHDOUBLE16_H

#include "kernels/host/Vec16.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

using Long16 = std::int64_t __attribute__((vector_size(128)));

STAGEWRIGHT_INLINE Double16 splatDouble(double v) {
  return Double16{} + v;
}
STAGEWRIGHT_INLINE Vec16 narrow(Double16 a) {
  return __builtin_convertvector(a, Vec16);
}

/// The nearest integer of a number below 2^51 in magnitude.
struct RoundedDouble {
  Double16 value;
  Long16 integer;
};
STAGEWRIGHT_INLINE RoundedDouble roundToInteger(Double16 x) {
  constexpr double kRound = 6755399441055744.0; // 1.5 * 2^52: adding it leaves the integer in the last bits
  const Double16 shifted = x + kRound;
  return {shifted - kRound, loadAs<Long16>(&shifted) - std::int64_t(0x4338000000000000)};
}

/// exp(x) = 2^n exp(r), |r| <= ln 2 / 2, for x from -700 to 700.
STAGEWRIGHT_INLINE Double16 exp(Double16 x) {
  const RoundedDouble n = roundToInteger(x * 1.44269504088896340736);
  const Double16 r = (x - n.value * 6.93147180369123816490e-01) - n.value * 1.90821492927058770002e-10;
  Double16 sum = splatDouble(1.0);
  for (int i = 14; i > 0; --i) // Taylor
    sum = sum * r / double(i) + 1.0;
  const Long16 power = (n.integer + 1023) << 52;
  return sum * loadAs<Double16>(&power);
}

/// x = 2^e m with m in [sqrt(1/2), sqrt(2)), log(m) = 2 atanh((m - 1) / (m + 1)), for normal x > 0.
STAGEWRIGHT_INLINE Double16 log(Double16 x) {
  const Long16 bits = loadAs<Long16>(&x);
  const Long16 exponent = (bits - std::int64_t(0x3fe6a09e667f3bcd)) >> 52; // of sqrt(1/2)
  const Long16 mantissa = bits - (exponent << 52);
  const Double16 m = loadAs<Double16>(&mantissa), s = (m - 1.0) / (m + 1.0), square = s * s;
  Double16 sum{};
  for (int k = 21; k >= 1; k -= 2)
    sum = sum * square + 1.0 / k;
  return __builtin_convertvector(exponent, Double16) * 0.69314718055994530942 + 2.0 * s * sum;
}

struct SineCosine {
  Double16 sine, cosine;
};
/// x = n pi / 2 + r with |r| <= pi / 4; pi / 2 in three parts of 33 bits, so that products with n are exact.
STAGEWRIGHT_INLINE SineCosine sineCosine(Double16 x) {
  const RoundedDouble n = roundToInteger(x * 0.636619772367581343076);
  Double16 r = x - n.value * 1.57079632673412561417e+00;
  r = r - n.value * 6.07710050630396597660e-11;
  r = r - n.value * 2.02226624871116645580e-21;
  const Double16 square = r * r;
  Double16 sine = splatDouble(1.0), cosine = splatDouble(1.0);
  for (int i = 16; i > 0; i -= 2) { // Taylor
    sine = 1.0 - sine * square / double(i * (i + 1));
    cosine = 1.0 - cosine * square / double(i * (i - 1));
  }
  sine = sine * r;
  const Long16 quadrant = n.integer & 3, isOdd = (quadrant & 1) != 0;
  const Double16 s = isOdd ? cosine : sine, c = isOdd ? sine : cosine;
  return {quadrant >= 2 ? -s : s, ((quadrant + 1) & 2) != 0 ? -c : c};
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
