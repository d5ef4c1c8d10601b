// Elementary functions of scalars in fp64, so that values do not depend on the C library.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_ELEMENTARY_H
#define STAGEWRIGHT_RUNTIME_TRAIN_ELEMENTARY_H

#include <cmath>

namespace stagewright::runtime {

/// Natural logarithm of a normal x > 0: x = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) /
/// (m
/// + 1)).
inline double logarithm(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent); // exact
  if (m < 0.70710678118654752440) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), z = s * s; // |s| < 0.172
  double sum = 0;
  for (int k = 21; k >= 1; k -= 2) {
    sum = sum * z + 1.0 / k;
  }
  return exponent * 0.69314718055994530942 + 2 * s * sum;
}

/// cos(pi x) for x in [0, 1], by Taylor's series at the nearest zero or extremum.
inline double cosineOfPi(double x) {
  constexpr double kPi = 3.14159265358979323846;
  if (x > 0.5) {
    return -cosineOfPi(1 - x);
  }
  const bool nearZero = x > 0.25; // there cos(pi x) = sin(pi (1/2 - x))
  const double angle = kPi * (nearZero ? 0.5 - x : x), z = angle * angle;
  double sum = 1;
  for (int k = nearZero ? 19 : 18; k > 1; k -= 2) {
    sum = 1 - sum * z / (k * (k - 1));
  }
  return nearZero ? angle * sum : sum;
}

} // namespace stagewright::runtime

#endif
