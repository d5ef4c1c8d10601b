#include "catalogue/GradientWire.h"

#include <algorithm>
#include <cmath>

namespace stagewright::catalogue {

std::int64_t GradientWire::kept(std::int64_t elements) const {
  const auto wanted = static_cast<std::int64_t>(std::ceil(ratio * static_cast<double>(elements)));
  return std::clamp<std::int64_t>(wanted, 1, elements);
}

static std::int64_t bytesOfGranule(const GradientWire &wire, std::int64_t elements) {
  if (elements == 0) {
    return 0;
  }
  return wire.compression == Compression::TopK ? (6 * wire.kept(elements) + 3) / 4 * 4
                                               : 8 + (elements + 31) / 32 * 4;
}

std::int64_t GradientWire::bytes(std::int64_t elements) const {
  if (!compresses()) {
    return elements * static_cast<std::int64_t>(byteSize(dtype));
  }
  return elements / kGranule * bytesOfGranule(*this, kGranule) + bytesOfGranule(*this, elements % kGranule);
}

} // namespace stagewright::catalogue
