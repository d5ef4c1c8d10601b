#include "runtime/device/AllocationCounter.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t> allocations{0};

} // namespace

std::uint64_t stagewright::runtime::allocationCount() {
  return allocations.load(std::memory_order_relaxed);
}

#if __has_feature(thread_sanitizer)

// Its own operators cannot be replaced, but it tells of every allocation, malloc included.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, std::size_t),
                                                         void (*)(const volatile void *));
[[maybe_unused]] static const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void *, std::size_t) { allocations.fetch_add(1, std::memory_order_relaxed); },
    [](const volatile void *) {});

#else

namespace {

void *count(std::size_t bytes) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(std::max<std::size_t>(bytes, 1));
}
void *count(std::size_t bytes, std::align_val_t alignment) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void *memory = nullptr;
  const auto unit = std::max(sizeof(void *), static_cast<std::size_t>(alignment));
  return posix_memalign(&memory, unit, std::max<std::size_t>(bytes, 1)) == 0 ? memory : nullptr;
}
void *orThrow(void *memory) {
  if (!memory) {
    throw std::bad_alloc();
  }
  return memory;
}

} // namespace

using Size = std::size_t;
using Align = std::align_val_t;
using NoThrow = const std::nothrow_t &;

void *operator new(Size bytes) {
  return orThrow(count(bytes));
}
void *operator new[](Size bytes) {
  return orThrow(count(bytes));
}
void *operator new(Size bytes, NoThrow) noexcept {
  return count(bytes);
}
void *operator new[](Size bytes, NoThrow) noexcept {
  return count(bytes);
}
void *operator new(Size bytes, Align alignment) {
  return orThrow(count(bytes, alignment));
}
void *operator new[](Size bytes, Align alignment) {
  return orThrow(count(bytes, alignment));
}
void *operator new(Size bytes, Align alignment, NoThrow) noexcept {
  return count(bytes, alignment);
}
void *operator new[](Size bytes, Align alignment, NoThrow) noexcept {
  return count(bytes, alignment);
}

void operator delete(void *memory) noexcept {
  std::free(memory);
}
void operator delete[](void *memory) noexcept {
  std::free(memory);
}
void operator delete(void *memory, NoThrow) noexcept {
  std::free(memory);
}
void operator delete[](void *memory, NoThrow) noexcept {
  std::free(memory);
}
void operator delete(void *memory, Size) noexcept {
  std::free(memory);
}
void operator delete[](void *memory, Size) noexcept {
  std::free(memory);
}
void operator delete(void *memory, Align) noexcept {
  std::free(memory);
}
void operator delete[](void *memory, Align) noexcept {
  std::free(memory);
}
void operator delete(void *memory, Align, NoThrow) noexcept {
  std::free(memory);
}
void operator delete[](void *memory, Align, NoThrow) noexcept {
  std::free(memory);
}
void operator delete(void *memory, Size, Align) noexcept {
  std::free(memory);
}
void operator delete[](void *memory, Size, Align) noexcept {
  std::free(memory);
}

#endif
