// Family linear: matrix products with a weight and what they need of it.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> linearKernels() {
  // The elements that the products compute with: the weights are rounded to them first.
  const AttributeRule round{"round", std::string("f32"), {"f32", "f16", "bf16"}};
  return {
      // y = x W^T + b, weight [N,K]. Packed: [K chunk][ceil(columns / 32)][rows of the chunk][32].
      entry<"pack_linear_forward", "weight f32[N,K] R, packed f32[packed(K,N)] W">({round}),
      entry<"pack_linear_input_grad", "weight f32[N,K] R, packed f32[packed(N,K)] W">({round}),
      entry<"linear", "x T[M,K] R, packed f32[packed(K,N)] R, y T[M,N] W, bias f32[N] R?">(),
      entry<"linear_input_grad", "g T[M,N] R, packed f32[packed(N,K)] R, dx T[M,K] W">(),
      // acc += g^T x, acc += column sums of g.
      entry<"linear_weight_grad", "g T[M,N] R, x T[M,K] R, acc f32[N,K] RW">(),
      entry<"bias_grad", "g T[M,N] R, acc f32[N] RW">(),
      // Products of two activations, one for each of B.
      entry<"matmul", "a T[B,M,K] R, b T[B,K,N] R, y T[B,M,N] W">(),
      entry<"matmul_nt", "a T[B,M,K] R, b T[B,N,K] R, y T[B,M,N] W">(),
      entry<"matmul_tn", "a T[B,K,M] R, b T[B,K,N] R, y T[B,M,N] W">(),
  };
}

} // namespace stagewright::catalogue
