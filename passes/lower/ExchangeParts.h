// In which parts gradients travel between replicas, and the room that their contributions take.
#ifndef STAGEWRIGHT_PASSES_LOWER_EXCHANGEPARTS_H
#define STAGEWRIGHT_PASSES_LOWER_EXCHANGEPARTS_H

#include "catalogue/GradientWire.h"

#include "mlir/IR/BuiltinOps.h"

#include <cstdint>
#include <vector>

namespace stagewright {

/// A range of bytes of an arena that the replicas exchange; replica -1: all get the same.
struct Exchanged {
  std::int64_t begin, end;
  int replica;
  std::int64_t shard = 0; ///< where in that replica's shard it belongs
};
using Ranges = std::vector<Exchanged>;

/// Exchanges of gradients that are under way at once: one travels while the next one is made.
inline constexpr std::int64_t kExchangesUnderWay = 2;

/// Cuts what one block adds up, so that what others contribute to a part fits into the scratch: of compressed
/// gradients, whose ranges begin with a granule, behind granules.
std::vector<Ranges> exchangeParts(const Ranges &chunk, std::int64_t replicas,
                                  const catalogue::GradientWire &wire);

/// Of a rank's gradients: bytes that others contribute to a part, and parts that can be under way. {0, 0}: no
/// exchange needs scratch.
struct ExchangeScratch {
  std::int64_t bytes = 0, slots = 0;
  std::int64_t total() const { return bytes * slots; }
};
ExchangeScratch exchangeScratch(mlir::ModuleOp module, std::int64_t rank);

} // namespace stagewright

#endif
