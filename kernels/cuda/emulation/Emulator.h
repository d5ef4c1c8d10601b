// Runs device code on the host.
#ifndef STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATOR_H
#define STAGEWRIGHT_KERNELS_CUDA_EMULATION_EMULATOR_H

#include "error/Error.h"

#include <array>
#include <cstddef>
#include <string>

namespace stagewright::cuda::emulation {

struct Dimensions {
  unsigned x = 1, y = 1, z = 1;
};

/// What a thread knows of itself, by CUDA's names.
struct Thread {
  Dimensions threadIdx_, blockIdx_, blockDim_, gridDim_;
};

using Body = void (*)(const void *arguments);

/// A kernel of this program: made by STAGEWRIGHT_KERNEL.
struct Registration {
  Registration(const char *name, std::size_t argumentBytes, Body body);
};

struct Kernel {
  std::string name;
  std::size_t argumentBytes = 0;
  Body body = nullptr;
};

/// Null: there is no such kernel.
const Kernel *find(const std::string &name);

/// In which order blocks, and threads between two barriers, run.
enum class Order { Ascending, Descending };

/// The largest dynamic shared memory of a block (Hopper: 227 KiB).
inline constexpr std::size_t kMaxSharedBytes = 227 * 1024;

/// Runs all blocks. Shared memory begins with NaNs in every block. Errors: Bug, a launch that a GPU refuses
/// (threads, shared memory, size of the arguments), threads that wait at different barriers.
Result<void> run(const Kernel &kernel, std::array<unsigned, 3> grid, unsigned threads,
                 std::size_t sharedBytes, const void *arguments, std::size_t argumentBytes,
                 Order order = Order::Ascending);

// For device code (Emulation.h).
inline constexpr std::size_t kLaneBytes = 16;
const Thread &current();
void waitForBlock();
void waitForWarp();
void *laneValue(unsigned lane); ///< of the calling thread's warp, in this exchange
void endExchange();
void *dynamicMemory();

} // namespace stagewright::cuda::emulation

#endif
