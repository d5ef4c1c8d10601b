// What device code is written with. Compiled by nvcc it is CUDA; compiled as C++ it runs on the host, block
// by block (kernels/cuda/emulation), which is how tests check every kernel where there is no GPU.
//
//   namespace {
//   template <typename T>
//   __device__ void relu(const MapArguments &a) { ... threadIdx.x ... }
//   } // namespace
//   STAGEWRIGHT_KERNELS(relu, MapArguments)        relu_f32, relu_f16, relu_bf16
//   STAGEWRIGHT_KERNEL(clear, MapArguments)        clear: not a template
//
// Rules: no atomics on floating-point numbers and no order that depends on timing (the same launch gives the
// same bits); all threads of a block reach every barrier(); blocks have at most 1024 threads, a multiple
// of 32.
#ifndef STAGEWRIGHT_KERNELS_CUDA_DEVICE_DEVICE_CUH
#define STAGEWRIGHT_KERNELS_CUDA_DEVICE_DEVICE_CUH

#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using F16 = __half;
using BF16 = __nv_bfloat16;

#define STAGEWRIGHT_ENTRY_OF(threads, symbol, function, Arguments)                                           \
  extern "C" __global__ void __launch_bounds__(threads)                                                      \
      symbol(const __grid_constant__ Arguments arguments) {                                                  \
    function(arguments);                                                                                     \
  }

__device__ inline float toFloat(float x) {
  return x;
}
__device__ inline float toFloat(F16 x) {
  return __half2float(x);
}
__device__ inline float toFloat(BF16 x) {
  return __bfloat162float(x);
}
template <typename T>
__device__ T fromFloat(float x);
template <>
__device__ inline float fromFloat<float>(float x) {
  return x;
}
template <>
__device__ inline F16 fromFloat<F16>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline BF16 fromFloat<BF16>(float x) {
  return __float2bfloat16_rn(x);
}

__device__ inline uint32_t bitsOf(float x) {
  return __float_as_uint(x);
}
__device__ inline float fromBits(uint32_t bits) {
  return __uint_as_float(bits);
}

/// All threads of the block get here, and see what any of them has written before.
__device__ inline void barrier() {
  __syncthreads();
}
/// The value of the lane whose number differs in the bits of `mask`; all lanes of the warp call it.
template <typename V>
__device__ V exchangeLanes(V value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
/// The value of lane `lane` of the warp; all lanes call it.
template <typename V>
__device__ V ofLane(V value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
/// Dynamic shared memory of the launch, 16-byte aligned.
template <typename V>
__device__ V *sharedMemory() {
  extern __shared__ __align__(16) unsigned char stagewright_shared[];
  return reinterpret_cast<V *>(stagewright_shared);
}
#else
#include "kernels/cuda/emulation/Emulation.h"
#endif

#define STAGEWRIGHT_ENTRY(symbol, function, Arguments) STAGEWRIGHT_ENTRY_OF(1024, symbol, function, Arguments)
#define STAGEWRIGHT_KERNEL(name, Arguments) STAGEWRIGHT_ENTRY(name##_kernel, name, Arguments)
#define STAGEWRIGHT_KERNELS(name, Arguments) STAGEWRIGHT_KERNELS_OF(1024, name, Arguments)
/// Of blocks of at most so many threads, which leaves each the more registers.
#define STAGEWRIGHT_KERNELS_OF(threads, name, Arguments)                                                     \
  STAGEWRIGHT_ENTRY_OF(threads, name##_f32, name<float>, Arguments)                                          \
  STAGEWRIGHT_ENTRY_OF(threads, name##_f16, name<F16>, Arguments)                                            \
  STAGEWRIGHT_ENTRY_OF(threads, name##_bf16, name<BF16>, Arguments)

/// 16 bytes of T, loaded and stored at once. The address is a multiple of 16.
template <typename T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T values[kSize];
};

/// Number of this thread in the grid (blocks along x), and how many there are.
__device__ inline int64_t gridThread() {
  return int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t gridThreads() {
  return int64_t(gridDim.x) * blockDim.x;
}

/// a / b for numbers that are not negative: in 32 bits where they fit, as GPUs have no division of 64.
__device__ inline int64_t quotient(int64_t a, int64_t b) {
  return ((a | b) >> 32) == 0 ? int64_t(uint32_t(a) / uint32_t(b)) : a / b;
}

/// Combines the values of all lanes of a warp in a fixed tree; all lanes get the result.
template <typename V, typename Operation>
__device__ V reduceWarp(V value, Operation operation) {
  for (int mask = 16; mask > 0; mask /= 2)
    value = operation(value, exchangeLanes(value, mask));
  return value;
}

/// The same of all threads of a block. `none` is the operation's neutral value.
template <typename V, typename Operation>
__device__ V reduceBlock(V value, V none, Operation operation) {
  __shared__ V ofWarps[32];
  value = reduceWarp(value, operation);
  barrier(); // an earlier reduction has been read
  if (threadIdx.x % 32 == 0)
    ofWarps[threadIdx.x / 32] = value;
  barrier();
  const int lane = threadIdx.x % 32;
  return reduceWarp(lane < int(blockDim.x / 32) ? ofWarps[lane] : none, operation);
}

struct Sum {
  template <typename V>
  __device__ V operator()(V a, V b) const {
    return a + b;
  }
};
struct Maximum {
  template <typename V>
  __device__ V operator()(V a, V b) const {
    return a < b ? b : a;
  }
};

template <typename V>
__device__ V blockSum(V value) {
  return reduceBlock(value, V(0), Sum());
}

#endif
