#include "MathProbe.h"

#include "kernels/host/Math16.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

extern const MathProbe mathProbe = {[](const float *x, float *y) { store(y, exp(load(x))); },
                                    [](const float *x, float *y) { store(y, log(load(x))); },
                                    [](const float *x, float *y) { store(y, tanh(load(x))); },
                                    [](const float *x, float *y) { store(y, erf(load(x))); }};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
