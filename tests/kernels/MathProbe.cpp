#include "MathProbe.h"

#include "kernels/host/Math16.h"
#include "random/Philox.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

static void philox(const unsigned *in, unsigned *out) {
  const random::PhiloxBlock block = random::philox({{in[0], in[1], in[2], in[3]}}, {{in[4], in[5]}});
  for (int i = 0; i < 4; ++i)
    out[i] = block[i];
}

extern const MathProbe mathProbe = {[](const float *x, float *y) { store(y, exp(load(x))); },
                                    [](const float *x, float *y) { store(y, log(load(x))); },
                                    [](const float *x, float *y) { store(y, tanh(load(x))); },
                                    [](const float *x, float *y) { store(y, erf(load(x))); }, philox};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
