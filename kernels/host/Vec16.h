// Sixteen float lanes: one zmm register, two ymm, or what the compiler makes of it. The source is compiled
// once per instruction set, in a namespace of its own, and every operation is an IEEE operation on each lane,
// so that all variants give the same bits. Only for files that CMakeLists.txt lists as families: these
// include no header of the standard library that has inline functions, because the linker would keep one copy
// of such a function for all instruction sets.
#ifndef STAGEWRIGHT_KERNELS_HOST_VEC16_H
#define STAGEWRIGHT_KERNELS_HOST_VEC16_H

#include <cstddef>
#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define STAGEWRIGHT_INLINE [[gnu::always_inline]] inline

namespace stagewright::kernels::STAGEWRIGHT_ISA {

inline constexpr int kLanes = 16;

using Vec16 = float __attribute__((vector_size(64)));
using Bits16 =
    std::int32_t __attribute__((vector_size(64))); ///< the lanes of a Vec16 as integers; a mask is 0 or -1
using Double16 = double __attribute__((vector_size(128)));

template <typename V>
STAGEWRIGHT_INLINE V loadAs(const void *from) {
  V out;
  __builtin_memcpy(&out, from, sizeof(V));
  return out;
}
STAGEWRIGHT_INLINE Vec16 load(const float *from) {
  return loadAs<Vec16>(from);
}
STAGEWRIGHT_INLINE void store(float *to, Vec16 value) {
  __builtin_memcpy(to, &value, sizeof(value));
}

/// The first `count` (0 to 16) floats, then zeros. Reads no others.
STAGEWRIGHT_INLINE Vec16 loadFirst(const float *from, std::int64_t count) {
#if defined(__AVX512F__)
  return Vec16(_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from));
#else
  Vec16 out{};
  __builtin_memcpy(&out, from, std::size_t(count) * sizeof(float));
  return out;
#endif
}
STAGEWRIGHT_INLINE void storeFirst(float *to, Vec16 value, std::int64_t count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), __m512(value));
#else
  __builtin_memcpy(to, &value, std::size_t(count) * sizeof(float));
#endif
}

STAGEWRIGHT_INLINE Vec16 splat(float v) {
  return Vec16{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v};
}

/// The lanes of a vector that exist: all of them, or a number known at run time.
struct AllLanes {};
STAGEWRIGHT_INLINE Vec16 read(const float *from, AllLanes) {
  return load(from);
}
STAGEWRIGHT_INLINE Vec16 read(const float *from, std::int64_t count) {
  return loadFirst(from, count);
}
STAGEWRIGHT_INLINE void write(float *to, Vec16 value, AllLanes) {
  store(to, value);
}
STAGEWRIGHT_INLINE void write(float *to, Vec16 value, std::int64_t count) {
  storeFirst(to, value, count);
}

inline constexpr Bits16 kLaneNumbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
/// `value` in the lanes that exist, `other` in the rest.
STAGEWRIGHT_INLINE Vec16 fill(Vec16 value, Vec16, AllLanes) {
  return value;
}
STAGEWRIGHT_INLINE Vec16 fill(Vec16 value, Vec16 other, std::int64_t count) {
  return kLaneNumbers < std::int32_t(count) ? value : other;
}

/// a * b + c, rounded once.
STAGEWRIGHT_INLINE Vec16 fma(Vec16 a, Vec16 b, Vec16 c) {
#if __has_builtin(__builtin_elementwise_fma)
  return __builtin_elementwise_fma(a, b, c);
#elif defined(__AVX512F__)
  return Vec16(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
#else
  for (int lane = 0; lane < kLanes; ++lane)
    c[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
  return c;
#endif
}

STAGEWRIGHT_INLINE Vec16 squareRoot(Vec16 a) {
#if __has_builtin(__builtin_elementwise_sqrt)
  return __builtin_elementwise_sqrt(a);
#else
  for (int lane = 0; lane < kLanes; ++lane)
    a[lane] = __builtin_sqrtf(a[lane]);
  return a;
#endif
}

STAGEWRIGHT_INLINE Bits16 bits(Vec16 a) {
  return Bits16(a);
}
STAGEWRIGHT_INLINE Vec16 fromBits(Bits16 a) {
  return Vec16(a);
}
STAGEWRIGHT_INLINE Vec16 absolute(Vec16 a) {
  return fromBits(bits(a) & 0x7fffffff);
}
/// The magnitude of `a` with the sign of `sign`.
STAGEWRIGHT_INLINE Vec16 withSign(Vec16 a, Vec16 sign) {
  return fromBits((bits(a) & 0x7fffffff) | (bits(sign) & std::int32_t(0x80000000)));
}
/// The larger one; `b` when either is not a number.
STAGEWRIGHT_INLINE Vec16 larger(Vec16 a, Vec16 b) {
  return a > b ? a : b;
}

STAGEWRIGHT_INLINE Double16 widen(Vec16 a) {
  return __builtin_convertvector(a, Double16);
}

/// Sum and maximum of the lanes by one fixed tree: lane i with lane i + 8, then i + 4, i + 2, i + 1.
template <typename V>
STAGEWRIGHT_INLINE auto sumLanes(V a) {
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane)
      a[lane] += a[lane + half];
  return a[0];
}
STAGEWRIGHT_INLINE float largestLane(Vec16 a) {
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane)
      a[lane] = a[lane] > a[lane + half] ? a[lane] : a[lane + half];
  return a[0];
}

} // namespace stagewright::kernels::STAGEWRIGHT_ISA

#endif
