// UPDATE on values that lie outside the device's memory: in chunks, through windows.
#ifndef STAGEWRIGHT_PASSES_LOWER_OFFLOADEDUPDATE_H
#define STAGEWRIGHT_PASSES_LOWER_OFFLOADEDUPDATE_H

#include "ir/layer/LayerDialect.h"
#include "passes/lower/ExchangeWriter.h"
#include "passes/lower/RankSlices.h"
#include "passes/memory/FunctionBuffers.h"

#include <map>
#include <vector>

namespace stagewright {

/// Windows of a rank: `slots` times one for each value of a chunk. Zeros: none.
struct OffloadWindows {
  std::int64_t bytes = 0, values = 0, slots = 0;
  std::int64_t total() const { return bytes * values * slots; }
};
OffloadWindows offloadWindows(mlir::ModuleOp module, std::int64_t rank);

//   replica 0   load 0 | load 1, update 0 | load 2, store 0, update 1 | store 1, ...
//   slot             0        1                  2        0                 1
class OffloadedUpdate {
public:
  /// Of a NORM or an UPDATE, while its ops are lowered in order; of another function it has no chunks.
  OffloadedUpdate(mlir::ModuleOp module, command::RankOp rank, plan::FunctionOp function,
                  const RankSlices &slices, const FunctionBuffers &buffers, ExchangeWriter &writer);

  /// A part of a piece of the op, and where it finds values that are not where they belong.
  struct Chunk {
    RankSlices::Piece piece;
    llvm::MapVector<plan::ValueAttr, command::SliceAttr> home, windows;
  };
  /// What the op does for single replicas, in order: without windows a whole piece at once. None: all of them
  /// do all of it.
  const std::vector<Chunk> &chunks(layer::Kernel kernel) const;

  /// In front of a chunk with windows, and behind it.
  void begin(const Chunk &chunk);
  void end(const Chunk &chunk);
  /// Behind the last op.
  void finish();

private:
  struct Stream {
    std::vector<Chunk> chunks; ///< of one replica
    std::vector<std::int64_t> loads, stores;
    std::size_t at = 0;
  };
  std::vector<Chunk> cut(layer::Kernel kernel, const RankSlices::Piece &piece);
  std::int64_t move(const Chunk &chunk, bool loads);

  const std::int64_t stage;
  const RankSlices &slices;
  const FunctionBuffers &buffers;
  ExchangeWriter &writer;
  plan::SettingsOp settings;
  const OffloadWindows layout;
  std::int64_t arena = 0;
  std::map<mlir::Operation *, std::vector<Chunk>> planned;
  std::map<int, Stream> streams; ///< by replica
};

} // namespace stagewright

#endif
