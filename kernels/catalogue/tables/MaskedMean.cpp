// Family masked_mean: the mean over the tokens of a sample that are no padding.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> maskedMeanKernels() {
  return {
      // y = sum of the rows of x whose mask is not 0, divided by max(how many they are, epsilon).
      entry<"masked_mean", "x T[B,S,D] R, mask i32[B,S] R, y T[B,D] W">({{"epsilon", 1e-9}}),
      entry<"masked_mean_grad", "g T[B,D] R, mask i32[B,S] R, dx T[B,S,D] W">({{"epsilon", 1e-9}}),
  };
}

} // namespace stagewright::catalogue
