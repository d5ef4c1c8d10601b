// Family loss: losses, their gradients, and what evaluation counts.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> lossKernels() {
  const AttributeRule scale{"scale", 1.0};
  return {
      // Losses are means over the first `valid_rows` rows; 0 rows give 0. log_sum_exp has all rows.
      entry<"softmax_cross_entropy",
            "logits f32[M,C] R, labels i32[M] R, valid_rows i32[1] R, loss f32[1] W, "
            "log_sum_exp f32[M] W">({}, {}, rowResults),
      entry<"softmax_cross_entropy_grad",
            "logits f32[M,C] R, labels i32[M] R, log_sum_exp f32[M] R, dlogits f32[M,C] W">({scale},
                                                                                            {{0, 3}}),
      entry<"mse_loss", "x T[M,X...] R, target f32[M,X...] R, valid_rows i32[1] R, loss f32[1] W">(
          {}, {}, granuleResults),
      entry<"mse_loss_grad", "x T[M,X...] R, target f32[M,X...] R, dx T[M,X...] W">({scale}),
      entry<"bce_with_logits", "x T[M,X...] R, target f32[M,X...] R, valid_rows i32[1] R, loss f32[1] W">(
          {}, {}, granuleResults),
      entry<"bce_with_logits_grad", "x T[M,X...] R, target f32[M,X...] R, dx T[M,X...] W">({scale}),
      entry<"count_correct", "logits T[M,C] R, labels i32[M] R, valid_rows i32[1] R, correct i64[1] W">(
          {}, {}, rowResults),
      entry<"mean_loss", "losses f32[M] R, mean f64[1] W">(),
  };
}

} // namespace stagewright::catalogue
