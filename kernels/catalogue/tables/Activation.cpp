// Family activation: element by element.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> activationKernels() {
  const AttributeRule approximate{"approximate", std::string("none"), {"none", "tanh"}};
  return {
      entry<"relu", "x T[X...] R, y T[X...] W">({}, {{0, 1}}),
      entry<"relu_grad", "g T[X...] R, y T[X...] R, dx T[X...] W">({}, {{0, 2}}),
      entry<"tanh", "x T[X...] R, y T[X...] W">({}, {{0, 1}}),
      entry<"tanh_grad", "g T[X...] R, y T[X...] R, dx T[X...] W">({}, {{0, 2}}),
      entry<"gelu", "x T[X...] R, y T[X...] W">({approximate}, {{0, 1}}),
      entry<"gelu_grad", "g T[X...] R, x T[X...] R, dx T[X...] W">({approximate}, {{0, 2}}),
      entry<"silu", "x T[X...] R, y T[X...] W">({}, {{0, 1}}),
      entry<"silu_grad", "g T[X...] R, x T[X...] R, dx T[X...] W">({}, {{0, 2}}),
      entry<"sigmoid", "x T[X...] R, y T[X...] W">({}, {{0, 1}}),
      entry<"sigmoid_grad", "g T[X...] R, y T[X...] R, dx T[X...] W">({}, {{0, 2}}),
      // silu(gate) * up.
      entry<"swiglu", "gate T[X...] R, up T[X...] R, y T[X...] W">(),
      entry<"swiglu_grad", "g T[X...] R, gate T[X...] R, up T[X...] R, dgate T[X...] W, dup T[X...] W">(),
      entry<"copy", "x T[X...] R, y T[count(X)...] W">(),
  };
}

} // namespace stagewright::catalogue
