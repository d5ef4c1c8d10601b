// Operands as floats, for what libraries compute.
#ifndef STAGEWRIGHT_KERNELS_CUDA_EMULATION_ELEMENTS_H
#define STAGEWRIGHT_KERNELS_CUDA_EMULATION_ELEMENTS_H

#include "kernels/cuda/Api.h"
#include "kernels/cuda/emulation/Emulation.h"

#include <vector>

namespace stagewright::cuda::emulation {

template <typename T>
std::vector<float> floats(const void *data, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] = toFloat(static_cast<const T *>(data)[i]);
  }
  return values;
}

inline std::vector<float> floats(Element element, const void *data, std::int64_t count) {
  return element == Element::F16    ? floats<F16>(data, count)
         : element == Element::BF16 ? floats<BF16>(data, count)
                                    : floats<float>(data, count);
}

inline void store(Element element, void *data, std::int64_t i, float value) {
  if (element == Element::F16) {
    static_cast<F16 *>(data)[i] = fromFloat<F16>(value);
  } else if (element == Element::BF16) {
    static_cast<BF16 *>(data)[i] = fromFloat<BF16>(value);
  } else {
    static_cast<float *>(data)[i] = value;
  }
}

} // namespace stagewright::cuda::emulation

#endif
