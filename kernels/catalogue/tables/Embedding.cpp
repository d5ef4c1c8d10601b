// Family embedding: rows of a table by number.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

/// CUDA: a number of 8 bytes for each token, to sort.
std::size_t sortedTokens(std::span<const Shape> shapes, std::string_view target) {
  if (target == "host" || shapes.empty() || elements(shapes[0]) < 0 || elements(shapes[0]) > kMaxElements)
    return 0;
  return std::size_t(elements(shapes[0])) * 8;
}

std::vector<Kernel> embeddingKernels() {
  return {
      // An id that is no row gives a row of NaN, and no gradient.
      // padding_idx is the gradient's.
      // With tensor_rank the table is rows [tensor_rank V, (tensor_rank + 1) V) of a whole one, of which ids
      // and padding_idx are numbers: the ranks' results add up to the whole table's, as an id of another
      // rank's rows gives zeros, and no gradient. No rank knows where the whole table ends; negative ids give
      // NaN.
      entry<"embedding", "ids i32[M] R, weight f32[V,D] R, y T[M,D] W, tensor_rank i32[1] R?">(
          {{"padding_idx", std::int64_t(-1)}}),
      // acc[ids] += g, but nothing to row padding_idx.
      entry<"embedding_grad", "ids i32[M] R, g T[M,D] R, acc f32[V,D] RW, tensor_rank i32[1] R?">(
          {{"padding_idx", std::int64_t(-1)}}, {}, sortedTokens),
  };
}

} // namespace stagewright::catalogue
