// Family activation: element by element, and copy. Where PyTorch has a formula it is PyTorch's, so that NaNs
// and infinities come out alike.
#include "kernels/host/Maps.h"
#include "kernels/host/Math16.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

template <typename T>
void relu(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapOne<T>(call, operands, runner, [](Vec16 x) { return x <= 0.0f ? Vec16{} : x; });
}

template <typename T>
void reluGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 g, Vec16 y) { return y <= 0.0f ? Vec16{} : g; });
}

template <typename T>
void tanhForward(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapOne<T>(call, operands, runner, [](Vec16 x) { return tanh(x); });
}

template <typename T>
void tanhGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 g, Vec16 y) { return g * fma(-y, y, splat(1.0f)); });
}

constexpr float kSqrtHalf = 0.707106769f, kInverseSqrt2Pi = 0.398942292f;
constexpr float kSqrt2OverPi = 0.797884583f, kCubic = 0.044715f;

/// sqrt(2 / pi) (x + 0.044715 x^3)
STAGEWRIGHT_INLINE Vec16 tanhArgument(Vec16 x) {
  return kSqrt2OverPi * fma(x * x * x, splat(kCubic), x);
}

template <typename T>
void gelu(const Call &call, void *const *operands, void *, TileRunner &runner) {
  if (call.integers[0] == 0)
    mapOne<T>(call, operands, runner, [](Vec16 x) { return 0.5f * x * (1.0f + erf(x * kSqrtHalf)); });
  else
    mapOne<T>(call, operands, runner, [](Vec16 x) { return 0.5f * x * (1.0f + tanh(tanhArgument(x))); });
}

template <typename T>
void geluGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  if (call.integers[0] == 0) {
    mapTwo<T>(call, operands, runner, [](Vec16 g, Vec16 x) {
      const Vec16 density = kInverseSqrt2Pi * exp(-0.5f * x * x);
      return g * fma(x, density, 0.5f * (1.0f + erf(x * kSqrtHalf)));
    });
  } else {
    mapTwo<T>(call, operands, runner, [](Vec16 g, Vec16 x) {
      const Vec16 t = tanh(tanhArgument(x));
      const Vec16 slope = kSqrt2OverPi * fma(x * x, splat(3.0f * kCubic), splat(1.0f));
      return g * fma(0.5f * x * fma(-t, t, splat(1.0f)), slope, 0.5f * (1.0f + t));
    });
  }
}

STAGEWRIGHT_INLINE Vec16 sigmoid(Vec16 x) {
  return 1.0f / (1.0f + exp(-x));
}
STAGEWRIGHT_INLINE Vec16 silu(Vec16 x) {
  return x / (1.0f + exp(-x));
}
/// The derivative of silu at x, where s is the sigmoid of x.
STAGEWRIGHT_INLINE Vec16 siluSlope(Vec16 x, Vec16 s) {
  return s * fma(x, 1.0f - s, splat(1.0f));
}

template <typename T>
void sigmoidForward(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapOne<T>(call, operands, runner, [](Vec16 x) { return sigmoid(x); });
}

template <typename T>
void sigmoidGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 g, Vec16 y) { return g * ((1.0f - y) * y); });
}

template <typename T>
void siluForward(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapOne<T>(call, operands, runner, [](Vec16 x) { return silu(x); });
}

template <typename T>
void siluGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 g, Vec16 x) { return g * siluSlope(x, sigmoid(x)); });
}

template <typename T>
void swiglu(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 gate, Vec16 up) { return silu(gate) * up; });
}

template <typename T>
void swigluGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const g = static_cast<const T *>(operands[0]);
  const T *const gate = static_cast<const T *>(operands[1]), *const up = static_cast<const T *>(operands[2]);
  T *const dGate = static_cast<T *>(operands[3]), *const dUp = static_cast<T *>(operands[4]);
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      const Vec16 of = read(g + i, lanes), x = read(gate + i, lanes), s = sigmoid(x);
      write(dGate + i, of * read(up + i, lanes) * siluSlope(x, s), lanes);
      write(dUp + i, of * (x * s), lanes);
    });
  });
}

template <typename T>
void copy(const Call &call, void *const *operands, void *, TileRunner &runner) {
  // Of floats, moves change no bits, also of subnormal numbers and NaNs.
  mapOne<T>(call, operands, runner, [](Vec16 x) { return x; });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("relu", 1, relu),
                               STAGEWRIGHT_FOR_ELEMENTS("relu_grad", 1, reluGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("tanh", 1, tanhForward),
                               STAGEWRIGHT_FOR_ELEMENTS("tanh_grad", 1, tanhGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("gelu", 1, gelu),
                               STAGEWRIGHT_FOR_ELEMENTS("gelu_grad", 1, geluGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("silu", 1, siluForward),
                               STAGEWRIGHT_FOR_ELEMENTS("silu_grad", 1, siluGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("sigmoid", 1, sigmoidForward),
                               STAGEWRIGHT_FOR_ELEMENTS("sigmoid_grad", 1, sigmoidGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("swiglu", 1, swiglu),
                               STAGEWRIGHT_FOR_ELEMENTS("swiglu_grad", 1, swigluGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("copy", 1, copy)};

} // namespace

extern const Family Activation = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
