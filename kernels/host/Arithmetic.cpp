// Family arithmetic: sums, products and quotients element by element, and conversions.
#include "kernels/host/Maps.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

template <typename T>
void add(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 a, Vec16 b) { return a + b; });
}

template <typename T>
void subtract(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 a, Vec16 b) { return a - b; });
}

template <typename T>
void multiply(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 a, Vec16 b) { return a * b; });
}

template <typename T>
void divide(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapTwo<T>(call, operands, runner, [](Vec16 a, Vec16 b) { return a / b; });
}

template <typename T>
void scale(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const Vec16 factor = splat(float(call.reals[0])), shift = splat(float(call.reals[1]));
  if (call.reals[1] == 0.0) // adding zero would lose the sign of a zero
    mapOne<T>(call, operands, runner, [=](Vec16 x) { return x * factor; });
  else
    mapOne<T>(call, operands, runner, [=](Vec16 x) { return fma(x, factor, shift); });
}

template <typename T>
void accumulate(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const T *const x = static_cast<const T *>(operands[0]);
  float *const acc = static_cast<float *>(operands[1]);
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      write(acc + i, read(acc + i, lanes) + read(x + i, lanes), lanes);
    });
  });
}

void addAndClear(const Call &call, void *const *operands, void *, TileRunner &runner) {
  float *const x = static_cast<float *>(operands[0]), *const acc = static_cast<float *>(operands[1]);
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      write(acc + i, read(acc + i, lanes) + read(x + i, lanes), lanes);
      write(x + i, Vec16{}, lanes);
    });
  });
}

void clear(const Call &call, void *const *operands, void *, TileRunner &runner) {
  float *const acc = static_cast<float *>(operands[0]);
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) { write(acc + i, Vec16{}, lanes); });
  });
}

template <typename T>
void castTo(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapOne<float, T>(call, operands, runner, [](Vec16 x) { return x; });
}

template <typename T>
void castFrom(const Call &call, void *const *operands, void *, TileRunner &runner) {
  mapOne<T, float>(call, operands, runner, [](Vec16 x) { return x; });
}

const HostKernel kKernels[] = {STAGEWRIGHT_FOR_ELEMENTS("add", 1, add),
                               STAGEWRIGHT_FOR_ELEMENTS("subtract", 1, subtract),
                               STAGEWRIGHT_FOR_ELEMENTS("multiply", 1, multiply),
                               STAGEWRIGHT_FOR_ELEMENTS("divide", 1, divide),
                               STAGEWRIGHT_FOR_ELEMENTS("scale", 1, scale),
                               STAGEWRIGHT_FOR_ELEMENTS("accumulate", 1, accumulate),
                               {"add_and_clear", 1, addAndClear},
                               {"clear", 1, clear},
                               STAGEWRIGHT_FOR_ELEMENTS("cast_to", 1, castTo),
                               STAGEWRIGHT_FOR_ELEMENTS("cast_from", 1, castFrom)};

} // namespace

extern const Family Arithmetic = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
