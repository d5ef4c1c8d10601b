// Family embedding: rows of a table by number.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> embeddingKernels() {
  return {
      // An id that is no row gives a row of NaN, and no gradient.
      // padding_idx is the gradient's.
      entry<"embedding", "ids i32[M] R, weight f32[V,D] R, y T[M,D] W">({{"padding_idx", std::int64_t(-1)}}),
      // acc[ids] += g, but nothing to row padding_idx.
      entry<"embedding_grad", "ids i32[M] R, g T[M,D] R, acc f32[V,D] RW">(
          {{"padding_idx", std::int64_t(-1)}}),
  };
}

} // namespace stagewright::catalogue
