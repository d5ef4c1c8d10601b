// Family activation: element by element, and copy. The formulas are those of kernels/host/Activation.cpp.
#include "kernels/cuda/device/Maps.cuh"

namespace {

template <typename T>
__device__ void relu(const MapArguments &a) {
  mapElements<T, 1>(a, [](float x) { return x <= 0.0f ? 0.0f : x; });
}

template <typename T>
__device__ void relu_grad(const MapArguments &a) {
  mapElements<T, 2>(a, [](float g, float y) { return y <= 0.0f ? 0.0f : g; });
}

template <typename T>
__device__ void tanh_forward(const MapArguments &a) {
  mapElements<T, 1>(a, [](float x) { return tanhf(x); });
}

template <typename T>
__device__ void tanh_grad(const MapArguments &a) {
  mapElements<T, 2>(a, [](float g, float y) { return g * fmaf(-y, y, 1.0f); });
}

constexpr float kSqrtHalf = 0.707106769f, kInverseSqrt2Pi = 0.398942292f;
constexpr float kSqrt2OverPi = 0.797884583f, kCubic = 0.044715f;

/// sqrt(2 / pi) (x + 0.044715 x^3)
__device__ inline float tanhArgument(float x) {
  return kSqrt2OverPi * fmaf(x * x * x, kCubic, x);
}

/// choice: 0 with erf, 1 with tanh.
template <typename T>
__device__ void gelu(const MapArguments &a) {
  if (a.choice == 0)
    mapElements<T, 1>(a, [](float x) { return 0.5f * x * (1.0f + erff(x * kSqrtHalf)); });
  else
    mapElements<T, 1>(a, [](float x) { return 0.5f * x * (1.0f + tanhf(tanhArgument(x))); });
}

template <typename T>
__device__ void gelu_grad(const MapArguments &a) {
  if (a.choice == 0) {
    mapElements<T, 2>(a, [](float g, float x) {
      const float density = kInverseSqrt2Pi * expf(-0.5f * x * x);
      return g * fmaf(x, density, 0.5f * (1.0f + erff(x * kSqrtHalf)));
    });
  } else {
    mapElements<T, 2>(a, [](float g, float x) {
      const float t = tanhf(tanhArgument(x)), slope = kSqrt2OverPi * fmaf(x * x, 3.0f * kCubic, 1.0f);
      return g * fmaf(0.5f * x * fmaf(-t, t, 1.0f), slope, 0.5f * (1.0f + t));
    });
  }
}

__device__ inline float sigmoidOf(float x) {
  return 1.0f / (1.0f + expf(-x));
}
__device__ inline float siluOf(float x) {
  return x / (1.0f + expf(-x));
}
/// The derivative of silu at x, where s is the sigmoid of x.
__device__ inline float siluSlope(float x, float s) {
  return s * fmaf(x, 1.0f - s, 1.0f);
}

template <typename T>
__device__ void sigmoid(const MapArguments &a) {
  mapElements<T, 1>(a, [](float x) { return sigmoidOf(x); });
}

template <typename T>
__device__ void sigmoid_grad(const MapArguments &a) {
  mapElements<T, 2>(a, [](float g, float y) { return g * ((1.0f - y) * y); });
}

template <typename T>
__device__ void silu(const MapArguments &a) {
  mapElements<T, 1>(a, [](float x) { return siluOf(x); });
}

template <typename T>
__device__ void silu_grad(const MapArguments &a) {
  mapElements<T, 2>(a, [](float g, float x) { return g * siluSlope(x, sigmoidOf(x)); });
}

template <typename T>
__device__ void swiglu(const MapArguments &a) {
  mapElements<T, 2>(a, [](float gate, float up) { return siluOf(gate) * up; });
}

/// g, gate, up; the gradients of gate and up.
template <typename T>
__device__ void swiglu_grad(const MapArguments &a) {
  eachPiece<16 / sizeof(T)>(a.elements, [&](int64_t i, auto width) {
    constexpr int kSize = decltype(width)::kSize;
    float g[kSize], gate[kSize], up[kSize];
    readPiece(input<T>(a, 0) + i, g);
    readPiece(input<T>(a, 1) + i, gate);
    readPiece(input<T>(a, 2) + i, up);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      const float s = sigmoidOf(gate[k]);
      up[k] = g[k] * up[k] * siluSlope(gate[k], s);
      gate[k] = g[k] * (gate[k] * s);
    }
    writePiece(output<T>(a, 0) + i, up);
    writePiece(output<T>(a, 1) + i, gate);
  });
}

/// Bits, also those of NaNs.
template <typename T>
__device__ void copy(const MapArguments &a) {
  eachPiece<16 / sizeof(T)>(a.elements, [&](int64_t i, auto width) {
    using Bits = Piece<T, decltype(width)::kSize>;
    *reinterpret_cast<Bits *>(output<T>(a, 0) + i) = *reinterpret_cast<const Bits *>(input<T>(a, 0) + i);
  });
}

} // namespace

STAGEWRIGHT_KERNELS(relu, MapArguments)
STAGEWRIGHT_KERNELS(relu_grad, MapArguments)
STAGEWRIGHT_KERNELS(tanh_forward, MapArguments)
STAGEWRIGHT_KERNELS(tanh_grad, MapArguments)
STAGEWRIGHT_KERNELS(gelu, MapArguments)
STAGEWRIGHT_KERNELS(gelu_grad, MapArguments)
STAGEWRIGHT_KERNELS(sigmoid, MapArguments)
STAGEWRIGHT_KERNELS(sigmoid_grad, MapArguments)
STAGEWRIGHT_KERNELS(silu, MapArguments)
STAGEWRIGHT_KERNELS(silu_grad, MapArguments)
STAGEWRIGHT_KERNELS(swiglu, MapArguments)
STAGEWRIGHT_KERNELS(swiglu_grad, MapArguments)
STAGEWRIGHT_KERNELS(copy, MapArguments)
