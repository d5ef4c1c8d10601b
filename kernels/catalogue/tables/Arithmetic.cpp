// Family arithmetic: element by element, all operands of one shape.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

std::vector<Kernel> arithmeticKernels() {
  const std::vector<InPlacePair> either = {{0, 2}, {1, 2}};
  return {
      entry<"add", "a T[X...] R, b T[X...] R, y T[X...] W">({}, either),
      entry<"subtract", "a T[X...] R, b T[X...] R, y T[X...] W">({}, either),
      entry<"multiply", "a T[X...] R, b T[X...] R, y T[X...] W">({}, either),
      entry<"divide", "a T[X...] R, b T[X...] R, y T[X...] W">({}, either),
      // y = factor x + shift.
      entry<"scale", "x T[X...] R, y T[X...] W">({{"factor", 1.0}, {"shift", 0.0}}, {{0, 1}}),
      entry<"accumulate", "x T[X...] R, acc f32[count(X)...] RW">(),
      // acc += x, then x = 0: the sum of one use of a parameter moves into that of another.
      entry<"add_and_clear", "x f32[X...] RW, acc f32[X...] RW">(),
      // acc = 0, whatever it held: the sum of a use has gone to the stage that adds it.
      entry<"clear", "acc f32[X...] RW">(),
      entry<"cast_to", "x f32[X...] R, y T[X...] W">(),
      entry<"cast_from", "x T[X...] R, y f32[X...] W">(),
  };
}

} // namespace stagewright::catalogue
