// Family linear: matrix products with a weight and what they need of it.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> linearKernels() {
  return {
      // y = x W^T + b, weight [N,K]. Packed: [K chunk][ceil(columns / 32)][rows of the chunk][32].
      entry<"pack_linear_forward", "weight f32[N,K] R, packed f32[packed(K,N)] W">(),
      entry<"pack_linear_input_grad", "weight f32[N,K] R, packed f32[packed(N,K)] W">(),
      entry<"linear", "x f32[M,K] R, packed f32[packed(K,N)] R, y f32[M,N] W, bias f32[N] R?">(),
      entry<"linear_input_grad", "g f32[M,N] R, packed f32[packed(N,K)] R, dx f32[M,K] W">(),
      // acc += g^T x, acc += column sums of g.
      entry<"linear_weight_grad", "g f32[M,N] R, x f32[M,K] R, acc f32[N,K] RW">(),
      entry<"bias_grad", "g f32[M,N] R, acc f32[N] RW">(),
  };
}

} // namespace stagewright::catalogue
