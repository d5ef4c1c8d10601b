// Elementary functions on sixteen lanes, the same bits on every instruction set and with any C library.
// Largest errors, in units in the last place of the exact result, over all floats
// (tests/kernels/MathTest.cpp):
//   exp 1.1, log 0.9, tanh 1.5, erf 1.2;  exp overflows and underflows as the exact result does.
// Polynomials: minimax.py.
#ifndef STAGEWRIGHT_KERNELS_HOST_MATH16_H
#define STAGEWRIGHT_KERNELS_HOST_MATH16_H

#include "kernels/host/Vec16.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

/// coefficients[0] + coefficients[1] x + ..., by Horner's rule.
template <int Count>
STAGEWRIGHT_INLINE Vec16 polynomial(Vec16 x, const float (&coefficients)[Count]) {
  Vec16 sum = splat(coefficients[Count - 1]);
#pragma GCC unroll 16
  for (int i = Count - 2; i >= 0; --i)
    sum = fma(sum, x, splat(coefficients[i]));
  return sum;
}

/// 2 to the power of each lane, from -126 to 127.
STAGEWRIGHT_INLINE Vec16 powerOfTwo(Bits16 exponent) {
  return fromBits((exponent + 127) << 23);
}

/// exp(x) = 2^exponent value, value in [sqrt(1/2), sqrt(2)].
struct ReducedExp {
  Vec16 value;
  Bits16 exponent;
};

/// Cody and Waite: x = n ln 2 + r with |r| <= ln 2 / 2, exp(x) = 2^n (1 + r + r^2 q(r)).
STAGEWRIGHT_INLINE ReducedExp reduceExp(Vec16 x) {
  constexpr float kQ[] = {0.49999994f, 0.166665152f, 0.0416680835f, 0.00836934801f, 0.00138403673f};
  constexpr float kRound = 12582912.0f; // 1.5 * 2^23: adding it leaves the nearest integer in the last bits
  const Vec16 shifted = fma(x, splat(1.44269504f), splat(kRound));
  const Vec16 n = shifted - kRound;
  Vec16 r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  return {fma(polynomial(r, kQ), r * r, r) + 1.0f, bits(shifted) - bits(splat(kRound))};
}

STAGEWRIGHT_INLINE Vec16 exp(Vec16 x) {
  x = x > 89.0f ? splat(89.0f) : x; // a NaN stays
  x = x < -104.0f ? splat(-104.0f) : x;
  const ReducedExp reduced = reduceExp(x);
  // In two steps, because 2^n alone can be too large or too small.
  const Bits16 half = reduced.exponent >> 1;
  return reduced.value * powerOfTwo(half) * powerOfTwo(reduced.exponent - half);
}

/// exp of x up to 88, for sums in which subnormal numbers do not count: the same bits as exp(x) from the
/// smallest normal number on, zero below.
STAGEWRIGHT_INLINE Vec16 expNormal(Vec16 x) {
  constexpr float kLeast = -87.3365479f; // ln 2^-126, rounded up
  const ReducedExp reduced = reduceExp(x < kLeast ? splat(kLeast) : x);
  return x < kLeast ? Vec16{} : reduced.value * powerOfTwo(reduced.exponent);
}

/// x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), log(x) = e ln 2 + f - f^2 / 2 + f^3 q(f).
STAGEWRIGHT_INLINE Vec16 log(Vec16 x) {
  constexpr float kQ[] = {0.333333135f,  -0.250001669f, 0.200022221f,  -0.16659373f, 0.14209637f,
                          -0.125492394f, 0.121078141f,  -0.109187193f, 0.0534224287f};
  constexpr float kSmallestNormal = 1.17549435e-38f, kScale = 8388608.0f; // 2^23
  const Bits16 subnormal = x < kSmallestNormal;
  const Vec16 scaled = subnormal ? x * kScale : x;
  const Bits16 exponent = (bits(scaled) - bits(splat(0.707106769f))) >> 23;
  const Vec16 f = fromBits(bits(scaled) - (exponent << 23)) - 1.0f;
  const Vec16 e = __builtin_convertvector(exponent + (subnormal & -23), Vec16);
  const Vec16 square = f * f;
  Vec16 value = fma(f * square, polynomial(f, kQ), e * -2.12194440e-4f);
  value = fma(square, splat(-0.5f), value) + f;
  value = fma(e, splat(0.693359375f), value);
  value = scaled > 3.40282347e38f ? scaled : value; // infinity
  value = scaled == 0.0f ? splat(-__builtin_inff()) : value;
  return scaled >= 0.0f ? value : scaled * __builtin_nanf("");
}

/// log(1 + x) for x from 0 to 1: the log of the rounded sum, and what the rounding lost.
STAGEWRIGHT_INLINE Vec16 logOnePlus(Vec16 x) {
  const Vec16 sum = 1.0f + x;
  return log(sum) + (x - (sum - 1.0f)) / sum;
}

/// x + x^3 q(x^2) near zero, else 1 - 2 / (exp(2 |x|) + 1) with the sign of x.
STAGEWRIGHT_INLINE Vec16 tanh(Vec16 x) {
  constexpr float kQ[] = {-0.333333313f, 0.133332223f,    -0.053948462f,
                          0.0217087511f, -0.00819509663f, 0.00215764972f};
  const Vec16 magnitude = absolute(x), square = x * x;
  const Vec16 near = fma(x * square, polynomial(square, kQ), x);
  const Vec16 far = 1.0f - 2.0f / (exp(magnitude + magnitude) + 1.0f);
  return withSign(magnitude < 0.625f ? near : far, x);
}

/// x + x q(x^2) near zero, else 1 - exp(-t - t q(t)) for t = |x| with the sign of x.
STAGEWRIGHT_INLINE Vec16 erf(Vec16 x) {
  constexpr float kNear[] = {0.128379151f,   -0.376124978f,  0.112818271f,
                             -0.0267662313f, 0.00499176187f, -0.000598021434f};
  constexpr float kFar[] = {0.128555119f,   0.635609269f,     0.105294511f,     -0.0227084346f,
                            0.00295180315f, -5.75802187e-05f, -4.39823889e-05f, 4.8046245e-06f};
  const Vec16 near = fma(x, polynomial(x * x, kNear), x);
  const Vec16 magnitude = absolute(x), t = magnitude > 4.0f ? splat(4.0f) : magnitude; // erf(4) is 1 in float
  const Vec16 far = 1.0f - exp(-fma(t, polynomial(t, kFar), t));
  return withSign(magnitude < 0.92f ? near : far, x);
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
