// In what gradients travel between replicas, and how many bytes that takes: one rule for the compiler, the
// loader, the runtime and `inspect`.
#ifndef STAGEWRIGHT_CATALOGUE_GRADIENTWIRE_H
#define STAGEWRIGHT_CATALOGUE_GRADIENTWIRE_H

#include "catalogue/Catalogue.h"

#include <cstdint>

namespace stagewright::catalogue {

/// The numbers of the .stage file: append only.
enum class Compression : std::uint8_t { None = 0, TopK = 1, OneBit = 2 };

//   a granule of n elements, f32      TopK     k values f32 | their k places u16, ascending | up to 4 bytes
//                                     OneBit   mean of those >= 0 f32 | of those < 0 f32 | n signs, u32 words
struct GradientWire {
  DType dtype = DType::F32; ///< or F16, BF16, without compression
  Compression compression = Compression::None;
  double ratio = 1; ///< of TopK: the part of a granule's elements that is sent

  /// Whether what arrives is what was sent, which nothing has to be converted for.
  bool isExact() const { return dtype == DType::F32 && !compresses(); }
  bool compresses() const { return compression != Compression::None; }

  /// Of TopK: k = ceil(ratio x elements), at least 1, of a granule of `elements`.
  std::int64_t kept(std::int64_t elements) const;

  /// Bytes of `elements` that begin with a granule.
  std::int64_t bytes(std::int64_t elements) const;
};

} // namespace stagewright::catalogue

#endif
