// Family linear: matrix products with a weight and what they need of it.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> linearKernels() {
  // The elements that the products compute with: the weights are rounded to them first.
  const AttributeRule round{"round", std::string("f32"), {"f32", "f16", "bf16"}};
  return {
      // y = x W^T + b, weight [N,K]. Packed: [K chunk][ceil(columns / 32)][rows of the chunk][32].
      only(Devices::Host,
           entry<"pack_linear_forward", "weight f32[N,K] R, packed f32[packed(K,N)] W">({round})),
      only(Devices::Host,
           entry<"pack_linear_input_grad", "weight f32[N,K] R, packed f32[packed(N,K)] W">({round})),
      only(Devices::Host,
           entry<"linear", "x T[M,K] R, packed f32[packed(K,N)] R, y T[M,N] W, bias f32[N] R?">()),
      only(Devices::Host, entry<"linear_input_grad", "g T[M,N] R, packed f32[packed(N,K)] R, dx T[M,K] W">()),
      // Version 2: the weight as it is, in the type that is computed with.
      only(Devices::Cuda, entry<"linear", "x T[M,K] R, weight T[N,K] R, y T[M,N] W, bias T[N] R?", 2>(
                              {}, {}, productWorkspace)),
      only(Devices::Cuda, entry<"linear_input_grad", "g T[M,N] R, weight T[N,K] R, dx T[M,K] W", 2>(
                              {}, {}, productWorkspace)),
      // acc += g^T x, acc += column sums of g.
      entry<"linear_weight_grad", "g T[M,N] R, x T[M,K] R, acc f32[N,K] RW">({}, {}, productWorkspace),
      entry<"bias_grad", "g T[M,N] R, acc f32[N] RW">({}, {}, chunkSums),
      // Products of two activations, one for each of B.
      entry<"matmul", "a T[B,M,K] R, b T[B,K,N] R, y T[B,M,N] W">({}, {}, productWorkspace),
      entry<"matmul_nt", "a T[B,M,K] R, b T[B,N,K] R, y T[B,M,N] W">({}, {}, productWorkspace),
      entry<"matmul_tn", "a T[B,K,M] R, b T[B,K,N] R, y T[B,M,N] W">({}, {}, productWorkspace),
  };
}

} // namespace stagewright::catalogue
