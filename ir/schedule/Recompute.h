// Which activations a stage does not keep for its backward pass but computes again (activation
// checkpointing).
#ifndef STAGEWRIGHT_IR_SCHEDULE_RECOMPUTE_H
#define STAGEWRIGHT_IR_SCHEDULE_RECOMPUTE_H

#include "error/Error.h"

#include <string>
#include <string_view>
#include <vector>

namespace stagewright::schedule {

/// Of one stage. Text form: "none", "selective", "interval:2", "types:LayerNorm,GELU".
struct Recompute {
  enum class Kind {
    None,
    Selective, ///< what costs little beside the bytes it saves: norms, attention, GELU, SiLU, SwiGLU, dropout
    Interval,  ///< each run of `interval` consecutive blocks of the stage, from what enters it
    Types      ///< each block of one of these layer types, from what enters it
  };
  Kind kind = Kind::None;
  int interval = 0;
  std::vector<std::string> types;

  bool operator==(const Recompute &) const = default;
};

std::string text(const Recompute &recompute);
/// Error: User, without a place.
Result<Recompute> parseRecompute(std::string_view text);

} // namespace stagewright::schedule

#endif
