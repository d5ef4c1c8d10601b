// Family softmax: over the rows of a matrix.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> softmaxKernels() {
  return {
      entry<"softmax", "x T[M,N] R, y T[M,N] W">({}, {{0, 1}}),
      entry<"softmax_grad", "g T[M,N] R, y T[M,N] R, dx T[M,N] W">({}, {{0, 2}}),
  };
}

} // namespace stagewright::catalogue
