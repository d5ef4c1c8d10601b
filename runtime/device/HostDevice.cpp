#include "runtime/device/HostDevice.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace stagewright::runtime {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
// All bits set: a quiet NaN in every IEEE format and in bf16, -1 in an integer.
constexpr int kPoison = 0xFF;

std::size_t roundUp(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// The most bytes that this process can still get: what the kernel calls available, and the limit of the
/// container. A larger arena would be granted all the same, and the process killed while it touches it.
std::size_t attainableBytes() {
  std::size_t attainable = std::size_t{1} << 47; // the address space
  std::size_t kibibytes = 0;
  std::size_t found = 0;
  std::ifstream memory("/proc/meminfo");
  for (std::string key, unit; memory >> key >> kibibytes; std::getline(memory, unit)) {
    if (key == "MemAvailable:" || key == "SwapFree:") {
      found += kibibytes * 1024;
    }
  }
  if (found > 0) {
    attainable = found;
  }
  std::ifstream limit("/sys/fs/cgroup/memory.max");
  if (std::size_t bytes = 0; limit >> bytes) {
    attainable = std::min(attainable, bytes);
  }
  return attainable;
}

Error noMemory(const std::string &name, std::size_t bytes, const std::string &why) {
  return environmentError(
      "arena \"" + name + "\"", "cannot allocate " + std::to_string(bytes) + " bytes: " + why,
      "free memory or raise the limit, or compile for more stages or smaller micro-batches");
}

} // namespace

std::size_t pageBytes() {
  static const std::size_t bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

Result<Arena> HostDevice::allocate(std::string name, std::size_t bytes) {
  const std::size_t page = pageBytes();
  if (bytes > attainableBytes()) {
    return noMemory(name, bytes, std::to_string(attainableBytes()) + " bytes are available");
  }
  const std::size_t mapped = roundUp(bytes, page);
  const std::size_t alignment = mapped >= kHugePageBytes ? kHugePageBytes : page;
  // Reserve with room to align, then cut away what lies outside of the guard pages.
  const std::size_t reserved = page + mapped + page + (alignment - page);
  void *base = mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return noMemory(name, bytes, std::strerror(errno));
  }
  auto *const begin = static_cast<std::byte *>(base);
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  std::byte *const data = begin + (roundUp(address + page, alignment) - address);
  std::byte *const end = data + mapped + page;
  if (data - page > begin) {
    munmap(begin, static_cast<std::size_t>(data - page - begin));
  }
  if (begin + reserved > end) {
    munmap(end, static_cast<std::size_t>(begin + reserved - end));
  }
  if (mapped > 0 && mmap(data, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                         0) == MAP_FAILED) {
    Error error = noMemory(name, bytes, std::strerror(errno));
    munmap(data - page, mapped + 2 * page);
    return error;
  }
  if (mapped >= kHugePageBytes) {
    madvise(data, mapped, MADV_HUGEPAGE); // advice: without huge pages the arena is slower, not wrong
  }
  for (std::size_t at = 0; at < mapped; at += page) {
    *static_cast<volatile std::byte *>(data + at) = std::byte{0};
  }
  Arena arena;
  arena.label = std::move(name);
  arena.start = data;
  arena.planned = bytes;
  arena.mapped = mapped;
  arena.totals = &totals;
  totals.planned += bytes;
  totals.mapped += mapped;
  return arena;
}

Arena::Arena(Arena &&other) noexcept {
  *this = std::move(other);
}

Arena &Arena::operator=(Arena &&other) noexcept {
  if (this != &other) {
    release();
    label = std::move(other.label);
    start = std::exchange(other.start, nullptr);
    planned = std::exchange(other.planned, 0);
    mapped = std::exchange(other.mapped, 0);
    totals = std::exchange(other.totals, nullptr);
  }
  return *this;
}

void Arena::poison(std::size_t offset, std::size_t count) {
  assert(offset <= planned && count <= planned - offset);
  std::memset(start + offset, kPoison, count);
}

void Arena::release() {
  if (!start) {
    return;
  }
  munmap(start - pageBytes(), mapped + 2 * pageBytes());
  totals->planned -= planned;
  totals->mapped -= mapped;
  start = nullptr;
  planned = mapped = 0;
}

} // namespace stagewright::runtime
