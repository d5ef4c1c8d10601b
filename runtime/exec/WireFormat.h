// How gradients travel between replicas when that is not in fp32.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_WIREFORMAT_H
#define STAGEWRIGHT_RUNTIME_EXEC_WIREFORMAT_H

#include "catalogue/GradientWire.h"
#include "error/Error.h"
#include "kernels/host/Host.h"

#include <cstddef>
#include <memory>

namespace stagewright::runtime {

/// Used by one thread. Calls are for a granule each, the last one of a piece for what is left of it.
class WireFormat {
public:
  /// Null when they travel as they are. Errors: Environment, the instruction set is not there.
  static Result<std::unique_ptr<WireFormat>> create(const catalogue::GradientWire &layout, kernels::Isa isa);

  explicit WireFormat(const catalogue::GradientWire &layout) : layout(layout) {}
  virtual ~WireFormat() = default;

  const catalogue::GradientWire layout;
  static constexpr std::size_t kBlock = catalogue::kGranule; ///< elements of a call, at most

  /// Bytes of `count` elements that begin with a granule.
  std::size_t bytes(std::size_t count) const {
    return static_cast<std::size_t>(layout.bytes(static_cast<std::int64_t>(count)));
  }

  /// `residual`, of compression: what has not been sent of earlier steps, and then of this one as well,
  /// divided by `scale`, the factor on the gradients of the step.
  virtual void pack(const float *from, float *residual, float scale, std::byte *to, std::size_t count) = 0;
  virtual void unpack(const std::byte *from, float *to, std::size_t count) = 0;
};

} // namespace stagewright::runtime

#endif
