// The elementary functions and the random generator of one instruction set, callable from a test.
#ifndef STAGEWRIGHT_TESTS_KERNELS_MATHPROBE_H
#define STAGEWRIGHT_TESTS_KERNELS_MATHPROBE_H

namespace stagewright::kernels {

struct MathProbe {
  void (*exp)(const float *x, float *y); ///< sixteen values
  void (*log)(const float *x, float *y);
  void (*tanh)(const float *x, float *y);
  void (*erf)(const float *x, float *y);
  void (*philox)(const unsigned *counterAndKey, unsigned *words); ///< six, four
};

} // namespace stagewright::kernels

#endif
