#include "kernels/cuda/emulation/RaceFinder.h"

#include <algorithm>

namespace stagewright::cuda::emulation {

void join(Clock &clock, const Clock &other) {
  clock.resize(std::max(clock.size(), other.size()));
  for (std::size_t i = 0; i < other.size(); ++i) {
    clock[i] = std::max(clock[i], other[i]);
  }
}

void RaceFinder::add(unsigned stream, const Clock &clock, std::span<const Access> accesses) {
  for (const Access &access : accesses) {
    const auto begin = reinterpret_cast<std::uintptr_t>(access.data), end = begin + access.bytes;
    std::erase_if(past, [&](const Past &other) {
      if (other.end <= begin || end <= other.begin) {
        return false;
      }
      const bool isOrdered = other.stream < clock.size() && clock[other.stream] >= other.work;
      if (!isOrdered && (access.writes || other.writes)) {
        found.push_back("work " + std::to_string(clock[stream]) + " of stream " + std::to_string(stream) +
                        (access.writes ? " writes" : " reads") + " what work " + std::to_string(other.work) +
                        " of stream " + std::to_string(other.stream) + (other.writes ? " writes" : " reads"));
      }
      return isOrdered && access.writes && begin <= other.begin && other.end <= end;
    });
  }
  for (const Access &access : accesses) {
    const auto begin = reinterpret_cast<std::uintptr_t>(access.data);
    past.push_back({begin, begin + access.bytes, access.writes, stream, clock[stream]});
  }
}

void RaceFinder::forget(const void *data, std::size_t bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(data), end = begin + bytes;
  std::erase_if(past, [&](const Past &other) { return begin <= other.begin && other.end <= end; });
}

} // namespace stagewright::cuda::emulation
