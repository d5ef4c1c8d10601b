// Windows that slide over images: what the attributes kernel, stride, padding and dilation may be, and the
// output that they give.
#ifndef STAGEWRIGHT_CATALOGUE_TABLES_WINDOWS_H
#define STAGEWRIGHT_CATALOGUE_TABLES_WINDOWS_H

#include "catalogue/Entry.h"

#include <array>

namespace stagewright::catalogue {

/// The window of one dimension.
struct Window {
  std::int64_t kernel = 1, stride = 1, padding = 0, dilation = 1;

  /// From the first to the last element.
  std::int64_t extent() const { return (kernel - 1) * dilation + 1; }
  /// Windows that fit into `size` elements and their padding; 0 or less when none does.
  std::int64_t outputs(std::int64_t size) const;
  /// Likewise when the last one may be cut, as PyTorch's ceil_mode: it starts before the padding at the end.
  std::int64_t outputsWithCut(std::int64_t size) const;
};

/// No attribute of a window is larger, so that their products fit.
inline constexpr std::int64_t kMaxWindow = std::int64_t(1) << 24;

/// Rows and columns. Attributes that the kernel does not have stay as above.
Result<std::array<Window, 2>> windowsOf(const Kernel &kernel, std::span<const Attribute> attributes);

} // namespace stagewright::catalogue

#endif
