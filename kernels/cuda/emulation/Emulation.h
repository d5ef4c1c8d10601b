// The part of CUDA that device code here is written with, on the host: a block's threads are fibers of one
// thread of the host, which run one after another from barrier to barrier. In which order is the tests'
// choice: code that lacks a barrier gives other results in another order. Included by Device.cuh in place of
// CUDA.
#ifndef STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATION_H
#define STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATION_H

#include "kernels/cuda/emulation/Emulator.h"

#include <cstring>
#include <math.h>
#include <stdint.h>

#define __device__
#define __global__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static thread_local

#define threadIdx (::stagewright::cuda::emulation::current().threadIdx_)
#define blockIdx (::stagewright::cuda::emulation::current().blockIdx_)
#define blockDim (::stagewright::cuda::emulation::current().blockDim_)
#define gridDim (::stagewright::cuda::emulation::current().gridDim_)

#define STAGEWRIGHT_ENTRY_OF(threads, symbol, function, Arguments)                                           \
  static const ::stagewright::cuda::emulation::Registration register_##symbol(                               \
      #symbol, sizeof(Arguments),                                                                            \
      [](const void *arguments) { function(*static_cast<const Arguments *>(arguments)); });

/// Half precision: 5 bits of exponent, 10 of mantissa.
struct F16 {
  _Float16 value;
};
/// The upper half of a float.
struct BF16 {
  uint16_t bits;
};

inline float toFloat(float x) {
  return x;
}
inline float toFloat(F16 x) {
  return float(x.value);
}
inline float toFloat(BF16 x) {
  const uint32_t word = uint32_t(x.bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}
template <typename T>
T fromFloat(float x);
template <>
inline float fromFloat<float>(float x) {
  return x;
}
template <>
inline F16 fromFloat<F16>(float x) {
  return {_Float16(x)};
}
template <>
inline BF16 fromFloat<BF16>(float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  if (x != x)
    return {uint16_t(word >> 16 | 0x40)}; // stays a NaN
  return {uint16_t((word + 0x7FFF + (word >> 16 & 1)) >> 16)};
}

inline uint32_t bitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float fromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline void barrier() {
  ::stagewright::cuda::emulation::waitForBlock();
}
template <typename V>
V ofLane(V value, int lane) {
  namespace emulation = ::stagewright::cuda::emulation;
  static_assert(sizeof(V) <= emulation::kLaneBytes);
  const unsigned own = threadIdx.x % 32;
  std::memcpy(emulation::laneValue(own), &value, sizeof value);
  emulation::waitForWarp();
  std::memcpy(&value, emulation::laneValue(unsigned(lane) % 32), sizeof value);
  emulation::endExchange();
  return value;
}
template <typename V>
V exchangeLanes(V value, int mask) {
  return ofLane(value, int(threadIdx.x % 32) ^ mask);
}
template <typename V>
V *sharedMemory() {
  return static_cast<V *>(::stagewright::cuda::emulation::dynamicMemory());
}

inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}
/// Of integers only (Device.cuh).
template <typename Integer>
Integer atomicMin(Integer *at, Integer value) {
  const Integer old = *at;
  *at = value < old ? value : old;
  return old;
}
template <typename Integer>
Integer atomicMax(Integer *at, Integer value) {
  const Integer old = *at;
  *at = value > old ? value : old;
  return old;
}
template <typename Integer>
Integer atomicAdd(Integer *at, Integer value) {
  const Integer old = *at;
  *at = old + value;
  return old;
}

#endif
