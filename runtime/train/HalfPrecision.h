// 16-bit floating-point numbers of files and outputs, widened: exact.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_HALFPRECISION_H
#define STAGEWRIGHT_RUNTIME_TRAIN_HALFPRECISION_H

#include <cstdint>
#include <cstring>

namespace stagewright::runtime {

/// IEEE 754 binary16.
inline float fromF16(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half} >> 15 << 31, exponent = half >> 10 & 31,
                      fraction = half & 1023;
  float value;
  if (exponent == 0) { // fraction 2^-24, exactly
    value = static_cast<float>(fraction) * 0x1p-24f;
  } else {
    const std::uint32_t bits = (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    std::memcpy(&value, &bits, 4);
  }
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  bits |= sign;
  std::memcpy(&value, &bits, 4);
  return value;
}

/// The upper half of a float.
inline float fromBF16(std::uint16_t half) {
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

} // namespace stagewright::runtime

#endif
