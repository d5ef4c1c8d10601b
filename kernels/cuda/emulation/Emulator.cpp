#include "kernels/cuda/emulation/Emulator.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <ucontext.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__) || (defined(__has_feature) && __has_feature(address_sanitizer))
#include <sanitizer/common_interface_defs.h>
#define STAGEWRIGHT_ASAN
/// A fake stack for each fiber would never be given back.
extern "C" const char *__asan_default_options() {
  return "detect_stack_use_after_return=0";
}
#endif
#if defined(__SANITIZE_THREAD__) || (defined(__has_feature) && __has_feature(thread_sanitizer))
#include <sanitizer/tsan_interface.h>
#define STAGEWRIGHT_TSAN
#endif

namespace stagewright::cuda::emulation {
namespace {

constexpr unsigned kWarp = 32, kMaxThreads = 1024;
constexpr std::size_t kStackBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxArgumentBytes = 4096;
constexpr unsigned kMaxGrid[3] = {0x7FFFFFFF, 65535, 65535};

std::map<std::string, Kernel> &table() {
  static std::map<std::string, Kernel> kernels;
  return kernels;
}

/// Frames that a switch leaves behind are not the sanitizers' to mark; inlined, they would be others' frames.
#define STAGEWRIGHT_SWITCHES __attribute__((no_sanitize("address", "thread"), noinline))

/// Where a stack was left. A jump by the compiler's own functions costs no call of the system: swapcontext
/// makes two, and the address sanitizer makes one of each longjmp.
using Place = void *[5];

/// A thread of the block. It leaves its stack at barriers and at its end, and begins anew in the next block.
struct Fiber {
  enum State { Ready, AtWarp, AtBlock, Done };
  State state = Done;
  Thread identity;
  bool isNew = true;       ///< nobody has been on its stack
  unsigned exchanges = 0;  ///< of lanes so far
  ucontext_t context = {}; ///< where it begins
  Place place = {};        ///< where it left
  std::byte *stack = nullptr;
  void *known = nullptr; ///< to the thread sanitizer
};

/// Stack `number` of this thread of the host, which launches use one after another.
std::byte *stackOf(unsigned number) {
  static thread_local std::vector<std::unique_ptr<std::byte[]>> stacks;
  while (stacks.size() <= number) {
    stacks.push_back(std::make_unique_for_overwrite<std::byte[]>(kStackBytes));
  }
  return stacks[number].get();
}

/// The blocks of one launch, one after another, on one thread of the host.
class Block {
public:
  Block(Body body, const void *arguments, unsigned threads, std::size_t sharedBytes, Order order)
      : body(body), arguments(arguments), order(order), fibers(threads), lanes(2 * threads),
        shared(std::max<std::size_t>(sharedBytes, 16) + 15) {
    for (unsigned i = 0; i < threads; ++i) {
      fibers[i].stack = stackOf(i);
      prepareStack(fibers[i]);
#ifdef STAGEWRIGHT_TSAN
      fibers[i].known = __tsan_create_fiber(0);
#endif
    }
  }

#ifdef STAGEWRIGHT_TSAN
  ~Block() {
    for (const Fiber &fiber : fibers) {
      __tsan_destroy_fiber(fiber.known);
    }
  }
#endif

  Result<void> run(Dimensions index, Dimensions grid) {
    std::memset(shared.data(), 0xFF, shared.size());
    for (unsigned i = 0; i < fibers.size(); ++i) {
      begin(fibers[i], {{i, 0, 0}, index, {static_cast<unsigned>(fibers.size()), 1, 1}, grid});
    }
    for (;;) {
      bool isDone = true;
      for (unsigned i = 0; i < fibers.size(); ++i) {
        Fiber &fiber = fibers[order == Order::Ascending ? i : fibers.size() - 1 - i];
        if (fiber.state == Fiber::Ready) {
          enter(fiber);
        }
        isDone = isDone && fiber.state == Fiber::Done;
      }
      if (isDone) {
        return {};
      }
      if (!release()) {
        return bugError("a block of emulated threads", "threads wait at different barriers");
      }
    }
  }

  Fiber *running = nullptr;
  /// Exchanges take turns between two sets of values: who writes the one has seen all read it.
  void *lane(unsigned number) {
    const unsigned own = running->identity.threadIdx_.x;
    return &lanes[own / kWarp * kWarp + number + (running->exchanges % 2 ? fibers.size() : 0)];
  }
  void *dynamic() {
    const auto address = reinterpret_cast<std::uintptr_t>(shared.data());
    return reinterpret_cast<void *>((address + 15) / 16 * 16);
  }
  /// Of the running fiber.
  STAGEWRIGHT_SWITCHES void leave(Fiber::State state) {
    Fiber &fiber = *running;
    fiber.state = state;
#ifdef STAGEWRIGHT_ASAN
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, hostStack, hostStackBytes);
#endif
#ifdef STAGEWRIGHT_TSAN
    __tsan_switch_to_fiber(host, 0);
#endif
    if (__builtin_setjmp(fiber.place) == 0) {
      __builtin_longjmp(hostPlace, 1);
    }
#ifdef STAGEWRIGHT_ASAN
    __sanitizer_finish_switch_fiber(fake, &hostStack, &hostStackBytes);
#endif
  }

private:
  STAGEWRIGHT_SWITCHES static void main(unsigned high, unsigned low) {
    auto *block = reinterpret_cast<Block *>(std::uintptr_t{high} << 32 | low);
#ifdef STAGEWRIGHT_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &block->hostStack, &block->hostStackBytes);
#endif
    for (;;) {
      block->body(block->arguments);
      block->leave(Fiber::Done);
    }
  }

  void prepareStack(Fiber &fiber) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&fiber.context, reinterpret_cast<void (*)()>(main), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
  }

  void begin(Fiber &fiber, Thread identity) {
    fiber.state = Fiber::Ready;
    fiber.identity = identity;
    fiber.exchanges = 0;
  }

  STAGEWRIGHT_SWITCHES void enter(Fiber &fiber) {
    running = &fiber;
#ifdef STAGEWRIGHT_ASAN
    void *fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack, kStackBytes);
#endif
#ifdef STAGEWRIGHT_TSAN
    host = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber.known, 0);
#endif
    if (__builtin_setjmp(hostPlace) == 0) {
      if (fiber.isNew) {
        fiber.isNew = false;
        setcontext(&fiber.context);
      }
      __builtin_longjmp(fiber.place, 1);
    }
#ifdef STAGEWRIGHT_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
    running = nullptr;
  }

  /// Those who wait where all others of their warp or block wait go on.
  bool release() {
    bool any = releaseRange(0, static_cast<unsigned>(fibers.size()), Fiber::AtBlock);
    for (unsigned warp = 0; warp < fibers.size(); warp += kWarp) {
      any = releaseRange(warp, warp + kWarp, Fiber::AtWarp) || any;
    }
    return any;
  }
  bool releaseRange(unsigned first, unsigned end, Fiber::State state) {
    bool any = false;
    for (unsigned i = first; i < end; ++i) {
      if (fibers[i].state != state && fibers[i].state != Fiber::Done) {
        return false;
      }
      any = any || fibers[i].state == state;
    }
    for (unsigned i = first; i < end; ++i) {
      fibers[i].state = fibers[i].state == state ? Fiber::Ready : fibers[i].state;
    }
    return any;
  }

  const Body body;
  const void *const arguments;
  const Order order;
  std::vector<Fiber> fibers;
  std::vector<std::array<std::byte, kLaneBytes>> lanes;
  std::vector<std::byte> shared;
  Place hostPlace = {};
  [[maybe_unused]] void *host = nullptr;            ///< to the thread sanitizer
  [[maybe_unused]] const void *hostStack = nullptr; ///< for the address sanitizer
  [[maybe_unused]] std::size_t hostStackBytes = 0;
};

thread_local Block *block = nullptr;

Result<void> check(const Kernel &kernel, const std::array<unsigned, 3> &grid, unsigned threads,
                   std::size_t sharedBytes, std::size_t argumentBytes) {
  const auto refuse = [&](const std::string &why) { return bugError("launch of " + kernel.name, why); };
  if (threads == 0 || threads > kMaxThreads || threads % kWarp != 0) {
    return refuse("a block cannot have " + std::to_string(threads) + " threads");
  }
  for (int i = 0; i < 3; ++i) {
    if (grid[i] == 0 || grid[i] > kMaxGrid[i]) {
      return refuse("a grid cannot have " + std::to_string(grid[i]) + " blocks along dimension " +
                    std::to_string(i));
    }
  }
  if (sharedBytes > kMaxSharedBytes) {
    return refuse(std::to_string(sharedBytes) + " bytes of shared memory");
  }
  if (argumentBytes != kernel.argumentBytes || argumentBytes > kMaxArgumentBytes) {
    return refuse(std::to_string(argumentBytes) + " bytes of arguments, and it takes " +
                  std::to_string(kernel.argumentBytes));
  }
  return {};
}

} // namespace

Registration::Registration(const char *name, std::size_t argumentBytes, Body body) {
  table()[name] = {name, argumentBytes, body};
}

const Kernel *find(const std::string &name) {
  const auto found = table().find(name);
  return found == table().end() ? nullptr : &found->second;
}

Result<void> run(const Kernel &kernel, std::array<unsigned, 3> grid, unsigned threads,
                 std::size_t sharedBytes, const void *arguments, std::size_t argumentBytes, Order order) {
  if (auto ok = check(kernel, grid, threads, sharedBytes, argumentBytes); !ok) {
    return ok;
  }
  Block blocks(kernel.body, arguments, threads, sharedBytes, order);
  block = &blocks;
  const std::uint64_t count = std::uint64_t{grid[0]} * grid[1] * grid[2];
  Result<void> outcome;
  for (std::uint64_t i = 0; i < count && outcome; ++i) {
    const std::uint64_t at = order == Order::Ascending ? i : count - 1 - i;
    outcome = blocks.run({static_cast<unsigned>(at % grid[0]), static_cast<unsigned>(at / grid[0] % grid[1]),
                          static_cast<unsigned>(at / grid[0] / grid[1])},
                         {grid[0], grid[1], grid[2]});
  }
  block = nullptr;
  return outcome;
}

const Thread &current() {
  return block->running->identity;
}
void waitForBlock() {
  block->leave(Fiber::AtBlock);
}
void waitForWarp() {
  block->leave(Fiber::AtWarp);
}
void endExchange() {
  ++block->running->exchanges;
}
void *laneValue(unsigned lane) {
  return block->lane(lane);
}
void *dynamicMemory() {
  return block->dynamic();
}

} // namespace stagewright::cuda::emulation
