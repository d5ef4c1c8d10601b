// One call of a kernel as plain numbers: what a kernel family sees. No inline function of the standard
// library (kernels/host/Vec16.h says why).
#ifndef STAGEWRIGHT_CALL_CALL_H
#define STAGEWRIGHT_CALL_CALL_H

#include <cstdint>

namespace stagewright::kernels {

inline constexpr int kMaxOperands = 16;
inline constexpr int kMaxAttributes = 8;

/// What the catalogue's T stands for.
enum class Element { F32, F16, BF16 };

struct CallOperand {
  bool present = false;
  int rank = 0;
  std::int64_t sizes[8] = {};
  std::int64_t elements = 0;
};

struct CallList {
  int size = 0;
  std::int64_t values[16] = {};
};

/// A call, made once by prepare(). Attributes are in the order of their declaration; a text is its index in
/// `choices`.
struct Call {
  Element element = Element::F32;
  CallOperand operands[kMaxOperands];
  double reals[kMaxAttributes] = {};
  std::int64_t integers[kMaxAttributes] = {};
  CallList lists[kMaxAttributes];

  [[gnu::always_inline]] std::int64_t size(int operand, int dimension) const {
    return operands[operand].sizes[dimension];
  }
  [[gnu::always_inline]] std::int64_t elements(int operand) const { return operands[operand].elements; }
};

} // namespace stagewright::kernels

#endif
