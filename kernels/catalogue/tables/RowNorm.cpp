// Family row_norm: normalisation of the rows of a matrix, with mean and rstd (1 / deviation), or the norm, of
// every row.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> rowNormKernels() {
  return {
      entry<"layer_norm",
            "x T[M,N] R, y T[M,N] W, mean f32[M] W, rstd f32[M] W, weight f32[N] R?, bias f32[N] R?">(
          {{"epsilon", 1e-5}}),
      entry<"layer_norm_grad",
            "g T[M,N] R, x T[M,N] R, mean f32[M] R, rstd f32[M] R, dx T[M,N] W, weight f32[N] R?">(),
      // acc += column sums of g * normalized x.
      entry<"layer_norm_weight_grad", "g T[M,N] R, x T[M,N] R, mean f32[M] R, rstd f32[M] R, acc f32[N] RW">(
          {}, {}, chunkSums),
      entry<"rms_norm", "x T[M,N] R, y T[M,N] W, rstd f32[M] W, weight f32[N] R?">({{"epsilon", 1e-6}}),
      entry<"rms_norm_grad", "g T[M,N] R, x T[M,N] R, rstd f32[M] R, dx T[M,N] W, weight f32[N] R?">(),
      entry<"rms_norm_weight_grad", "g T[M,N] R, x T[M,N] R, rstd f32[M] R, acc f32[N] RW">({}, {},
                                                                                            chunkSums),
      // y = x / max(norm, epsilon), where norm is the Euclidean one of each row.
      entry<"normalize", "x T[M,N] R, y T[M,N] W, norm f32[M] W">({{"epsilon", 1e-12}}),
      entry<"normalize_grad", "g T[M,N] R, x T[M,N] R, norm f32[M] R, dx T[M,N] W">({{"epsilon", 1e-12}}),
  };
}

} // namespace stagewright::catalogue
