#include "MathProbe.h"

#include "kernels/host/Math16.h"
#include "kernels/host/MathDouble16.h"
#include "kernels/host/Philox16.h"
#include "random/Philox.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

static void probePhilox(const unsigned *in, unsigned *out) {
  const random::PhiloxBlock block = random::philox({{in[0], in[1], in[2], in[3]}}, {{in[4], in[5]}});
  for (int i = 0; i < 4; ++i)
    out[i] = block[i];
}

static void probeSineCosine(const double *x, double *y) {
  const SineCosine both = sineCosine(loadAs<Double16>(x));
  __builtin_memcpy(y, &both.sine, sizeof(both.sine));
  __builtin_memcpy(y + kLanes, &both.cosine, sizeof(both.cosine));
}
static void probePhilox16(const std::uint32_t *counters, const std::uint32_t *key, std::uint32_t *words) {
  PhiloxWords c;
  __builtin_memcpy(&c, counters, sizeof(c));
  const PhiloxWords made = philox(c, key[0], key[1]);
  __builtin_memcpy(words, &made, sizeof(made));
}
static void probeDouble(Double16 value, double *y) {
  __builtin_memcpy(y, &value, sizeof(value));
}

extern const MathProbe mathProbe = {
    [](const float *x, float *y) { store(y, exp(load(x))); },
    [](const float *x, float *y) { store(y, log(load(x))); },
    [](const float *x, float *y) { store(y, tanh(load(x))); },
    [](const float *x, float *y) { store(y, erf(load(x))); },
    probePhilox,
    [](const float *x, float *y) { store(y, expNormal(load(x))); },
    [](const double *x, double *y) { probeDouble(exp(loadAs<Double16>(x)), y); },
    [](const double *x, double *y) { probeDouble(log(loadAs<Double16>(x)), y); },
    probeSineCosine,
    probePhilox16};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
