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

// ---- Elements of two bytes: kept in memory as halves, computed with as floats ----

/// IEEE binary16.
struct F16 {
  std::uint16_t bits;
};
/// The upper half of a float.
struct BF16 {
  std::uint16_t bits;
};
using Half16 = std::uint16_t __attribute__((vector_size(32)));
using Unsigned16 = std::uint32_t __attribute__((vector_size(64)));

STAGEWRIGHT_INLINE Half16 loadFirstHalves(const void *from, std::int64_t count) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  return Half16(_mm256_maskz_loadu_epi16(__mmask16((1u << count) - 1), from));
#else
  Half16 out{};
  __builtin_memcpy(&out, from, std::size_t(count) * 2);
  return out;
#endif
}
STAGEWRIGHT_INLINE void storeFirstHalves(void *to, Half16 value, std::int64_t count) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  _mm256_mask_storeu_epi16(to, __mmask16((1u << count) - 1), __m256i(value));
#else
  __builtin_memcpy(to, &value, std::size_t(count) * 2);
#endif
}

STAGEWRIGHT_INLINE Vec16 fromBF16(Half16 value) {
  return Vec16(__builtin_convertvector(value, Unsigned16) << 16);
}
/// To the nearest, ties to even; a NaN stays one.
STAGEWRIGHT_INLINE Half16 toBF16(Vec16 value) {
  const Unsigned16 bits = Unsigned16(value), rounded = bits + 0x7fff + ((bits >> 16) & 1);
  return __builtin_convertvector((value == value ? rounded : bits | 0x400000) >> 16, Half16);
}

STAGEWRIGHT_INLINE Vec16 fromF16(Half16 value) {
#if defined(__AVX512F__)
  return Vec16(_mm512_cvtph_ps(__m256i(value)));
#else
  const Unsigned16 wide = __builtin_convertvector(value, Unsigned16), magnitude = wide & 0x7fff;
  const Unsigned16 normal = (magnitude << 13) + (112u << 23);
  const Vec16 subnormal = __builtin_convertvector(magnitude, Vec16) * 0x1p-24f;
  const Unsigned16 finite = magnitude < 0x400 ? Unsigned16(subnormal) : normal;
  return Vec16((magnitude >= 0x7c00 ? normal + (112u << 23) : finite) | ((wide & 0x8000) << 16));
#endif
}
/// To the nearest, ties to even; too large becomes infinity, a NaN stays one.
STAGEWRIGHT_INLINE Half16 toF16(Vec16 value) {
#if defined(__AVX512F__)
  return Half16(_mm512_cvtps_ph(__m512(value), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  const Unsigned16 bits = Unsigned16(value), magnitude = bits & 0x7fffffff;
  const Unsigned16 normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - (112u << 23)) >> 13;
  const Unsigned16 subnormal = Unsigned16(Vec16(magnitude) + 0.5f) - 0x3f000000; // one half: ulp 2^-24
  const Unsigned16 infinite = {};
  const Unsigned16 small = magnitude < 0x38800000 ? subnormal : normal;
  const Unsigned16 large = magnitude > 0x7f800000 ? infinite + 0x7e00 : infinite + 0x7c00;
  return __builtin_convertvector((magnitude >= 0x47800000 ? large : small) | ((bits >> 16) & 0x8000), Half16);
#endif
}

STAGEWRIGHT_INLINE Vec16 load(const F16 *from) {
  return fromF16(loadAs<Half16>(from));
}
STAGEWRIGHT_INLINE Vec16 load(const BF16 *from) {
  return fromBF16(loadAs<Half16>(from));
}
STAGEWRIGHT_INLINE Vec16 loadFirst(const F16 *from, std::int64_t count) {
  return fromF16(loadFirstHalves(from, count));
}
STAGEWRIGHT_INLINE Vec16 loadFirst(const BF16 *from, std::int64_t count) {
  return fromBF16(loadFirstHalves(from, count));
}
STAGEWRIGHT_INLINE void store(F16 *to, Vec16 value) {
  const Half16 half = toF16(value);
  __builtin_memcpy(to, &half, sizeof(half));
}
STAGEWRIGHT_INLINE void store(BF16 *to, Vec16 value) {
  const Half16 half = toBF16(value);
  __builtin_memcpy(to, &half, sizeof(half));
}
STAGEWRIGHT_INLINE void storeFirst(F16 *to, Vec16 value, std::int64_t count) {
  storeFirstHalves(to, toF16(value), count);
}
STAGEWRIGHT_INLINE void storeFirst(BF16 *to, Vec16 value, std::int64_t count) {
  storeFirstHalves(to, toBF16(value), count);
}

STAGEWRIGHT_INLINE Vec16 splat(float v) {
  return Vec16{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v};
}

/// The lanes of a vector that exist: all of them, or a number known at run time. T: float, F16 or BF16.
struct AllLanes {};
template <typename T>
STAGEWRIGHT_INLINE Vec16 read(const T *from, AllLanes) {
  return load(from);
}
template <typename T>
STAGEWRIGHT_INLINE Vec16 read(const T *from, std::int64_t count) {
  return loadFirst(from, count);
}
template <typename T>
STAGEWRIGHT_INLINE void write(T *to, Vec16 value, AllLanes) {
  store(to, value);
}
template <typename T>
STAGEWRIGHT_INLINE void write(T *to, Vec16 value, std::int64_t count) {
  storeFirst(to, value, count);
}

/// One element. `asm`: LLVM 14 reads and writes four bytes where it sees that a vector has one element of
/// two.
STAGEWRIGHT_INLINE Half16 halfOf(std::uint16_t value) {
  std::uint32_t bits = value;
  asm("" : "+r"(bits));
  return Half16{} + std::uint16_t(bits);
}
STAGEWRIGHT_INLINE float readOne(const float *from) {
  return *from;
}
STAGEWRIGHT_INLINE float readOne(const F16 *from) {
  return fromF16(halfOf(from->bits))[0];
}
STAGEWRIGHT_INLINE float readOne(const BF16 *from) {
  return fromBF16(halfOf(from->bits))[0];
}
STAGEWRIGHT_INLINE void writeOne(float *to, float value) {
  *to = value;
}
STAGEWRIGHT_INLINE void writeOne(F16 *to, float value) {
  std::uint32_t bits = toF16(splat(value))[0];
  asm("" : "+r"(bits));
  to->bits = std::uint16_t(bits);
}
STAGEWRIGHT_INLINE void writeOne(BF16 *to, float value) {
  std::uint32_t bits = toBF16(splat(value))[0];
  asm("" : "+r"(bits));
  to->bits = std::uint16_t(bits);
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
