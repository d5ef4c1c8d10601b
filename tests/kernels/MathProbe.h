// The elementary functions and the random generator of one instruction set, callable from a test.
#ifndef STAGEWRIGHT_TESTS_KERNELS_MATHPROBE_H
#define STAGEWRIGHT_TESTS_KERNELS_MATHPROBE_H

#include <cstdint>

namespace stagewright::kernels {

struct MathProbe {
  void (*exp)(const float *x, float *y); ///< sixteen values
  void (*log)(const float *x, float *y);
  void (*tanh)(const float *x, float *y);
  void (*erf)(const float *x, float *y);
  void (*philox)(const unsigned *counterAndKey, unsigned *words); ///< six, four
  void (*expNormal)(const float *x, float *y);
  void (*expDouble)(const double *x, double *y);
  void (*logDouble)(const double *x, double *y);
  void (*sineCosine)(const double *x, double *y); ///< sixteen sines, then sixteen cosines
  /// Sixteen counters and words, one word of all after the other.
  void (*philox16)(const std::uint32_t *counters, const std::uint32_t *key, std::uint32_t *words);
};

} // namespace stagewright::kernels

#endif
