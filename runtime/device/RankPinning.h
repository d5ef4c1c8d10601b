// `--isolate-ranks`: each rank on a core of its own, for measuring.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_RANKPINNING_H
#define STAGEWRIGHT_RUNTIME_DEVICE_RANKPINNING_H

#include "error/Error.h"

namespace stagewright::runtime {

/// Cores that the calling thread may run on (its affinity mask), or as many as the time that its container
/// grants is worth (see CpuQuota.h) if that is less; at least 1.
int usableCores();

/// Pins the calling thread to one core: the localRank-th of the cores that it may run on, modulo their
/// number. Called by each rank's thread, once. `localRank` counts the ranks of this machine from 0. Threads
/// that the rank starts afterwards inherit the core; helpers of a TilePool that was made before do not.
/// Returns the core's number. Errors: Environment, when the kernel refuses.
Result<int> pinRank(int localRank);

} // namespace stagewright::runtime

#endif
