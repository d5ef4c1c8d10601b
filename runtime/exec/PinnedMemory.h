// Memory of the host that a GPU copies from and to.
#ifndef STAGEWRIGHT_RUNTIME_EXEC_PINNEDMEMORY_H
#define STAGEWRIGHT_RUNTIME_EXEC_PINNEDMEMORY_H

#include "kernels/cuda/Api.h"

#include <utility>

namespace stagewright::runtime {

/// Outlived by its table.
class PinnedMemory {
public:
  explicit PinnedMemory(cuda::Api &api) : api(&api) {}
  PinnedMemory(PinnedMemory &&other) noexcept
      : api(other.api), start(std::exchange(other.start, nullptr)), size(std::exchange(other.size, 0)) {}
  PinnedMemory &operator=(PinnedMemory &&) = delete;
  ~PinnedMemory() {
    if (start) {
      api->releasePinned(start);
    }
  }

  /// Once. What lies there is undefined. Errors: Environment.
  Result<void> allocate(std::size_t bytes) {
    auto made = api->allocatePinned(bytes);
    if (!made) {
      return made.takeError();
    }
    start = static_cast<std::byte *>(*made);
    size = bytes;
    return {};
  }
  std::byte *data() const { return start; } ///< null: not allocated
  std::size_t bytes() const { return size; }

private:
  cuda::Api *api;
  std::byte *start = nullptr;
  std::size_t size = 0;
};

} // namespace stagewright::runtime

#endif
