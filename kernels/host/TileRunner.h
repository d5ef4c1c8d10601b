// How a kernel spreads its work: tiles that depend on (op, shape, dtype) only, never on the number of
// threads.
#ifndef STAGEWRIGHT_KERNELS_HOST_TILERUNNER_H
#define STAGEWRIGHT_KERNELS_HOST_TILERUNNER_H

#include <cstddef>

namespace stagewright::kernels {

/// Bytes of scratch memory that each worker owns.
inline constexpr std::size_t kTileScratchBytes = 1 << 20;

/// Runs tiles of one kernel. The caller must be inside a task (it holds a worker number).
class TileRunner {
public:
  virtual ~TileRunner() = default;

  /// Calls tile(context, index, worker) once for every index in [0, tiles), in any order and on any threads,
  /// and returns when all calls have returned. `worker` is the number of the calling thread; no two threads
  /// have the same one at a time. One tile runs on the calling thread. A tile may not call run().
  virtual void run(int tiles, void (*tile)(void *context, int index, int worker), void *context) = 0;

  /// kTileScratchBytes of memory that belong to `worker`, 64-byte aligned; contents are undefined when a tile
  /// starts.
  virtual void *scratch(int worker) = 0;
};

} // namespace stagewright::kernels

#endif
