// Tile runners for tests and benchmarks of kernels without the runtime.
#ifndef STAGEWRIGHT_TESTS_KERNELS_TILERUNNERS_H
#define STAGEWRIGHT_TESTS_KERNELS_TILERUNNERS_H

#include "kernels/host/Host.h"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

namespace stagewright::kernels {

struct FreeMemory {
  void operator()(void *memory) const { std::free(memory); }
};
using ScratchMemory = std::unique_ptr<void, FreeMemory>;

inline ScratchMemory allocateScratch() {
  return ScratchMemory(std::aligned_alloc(64, kTileScratchBytes));
}

/// Everything on the calling thread, last tile first.
class SerialTileRunner final : public TileRunner {
public:
  void run(int tiles, void (*tile)(void *, int, int), void *context) override {
    mostTiles = std::max(mostTiles, tiles);
    for (int index = tiles; index-- > 0;)
      tile(context, index, 0);
  }
  void *scratch(int) override { return memory.get(); }

  int mostTiles = 0; ///< of any call so far

private:
  ScratchMemory memory = allocateScratch();
};

/// `threads` workers, the calling thread among them, take tiles in order. The others spin while they wait.
class ThreadTileRunner final : public TileRunner {
public:
  explicit ThreadTileRunner(int threads) {
    for (int worker = 0; worker < threads; ++worker)
      memory.push_back(allocateScratch());
    for (int worker = 1; worker < threads; ++worker)
      helpers.emplace_back([this, worker] { help(worker); });
  }
  ~ThreadTileRunner() override {
    stop = true;
    call.fetch_add(1);
    for (std::thread &helper : helpers)
      helper.join();
  }

  void run(int count, void (*function)(void *, int, int), void *argument) override {
    if (count == 1 || helpers.empty()) {
      for (int index = 0; index < count; ++index)
        function(argument, index, 0);
      return;
    }
    tiles = count;
    tile = function;
    context = argument;
    next = 0;
    busy = int(helpers.size());
    call.fetch_add(1);
    takeTiles(0);
    for (int spins = 0; busy.load() > 0;)
      wait(spins);
  }
  void *scratch(int worker) override { return memory[std::size_t(worker)].get(); }

private:
  static void wait(int &spins) {
    if (++spins % 1000 == 0)
      std::this_thread::yield();
  }

  void takeTiles(int worker) {
    for (int index = next.fetch_add(1); index < tiles; index = next.fetch_add(1))
      tile(context, index, worker);
  }

  void help(int worker) {
    setFlushToZero();
    for (unsigned seen = 0;;) {
      for (int spins = 0; call.load() == seen;)
        wait(spins);
      ++seen;
      if (stop)
        return;
      takeTiles(worker);
      busy.fetch_sub(1);
    }
  }

  std::vector<ScratchMemory> memory;
  std::vector<std::thread> helpers;
  std::atomic<unsigned> call = 0;
  std::atomic<bool> stop = false;
  std::atomic<int> next = 0, busy = 0;
  int tiles = 0;
  void (*tile)(void *, int, int) = nullptr;
  void *context = nullptr;
};

} // namespace stagewright::kernels

#endif
