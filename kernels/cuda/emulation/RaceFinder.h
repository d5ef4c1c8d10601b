// Finds work on memory that no event puts in an order, whatever its values are: with vector clocks (Fidge
// 1988, Mattern 1989), when work is given to a stream.
#ifndef STAGEWRIGHT_KERNELS_CUDA_EMULATION_RACEFINDER_H
#define STAGEWRIGHT_KERNELS_CUDA_EMULATION_RACEFINDER_H

#include "kernels/cuda/Api.h"

#include <span>
#include <string>
#include <vector>

namespace stagewright::cuda::emulation {

/// For every stream, by number, how much of its work is known to be done; missing entries are 0.
using Clock = std::vector<std::uint64_t>;
void join(Clock &clock, const Clock &other);

class RaceFinder {
public:
  /// Work `clock[stream]` of a stream, which stands behind all else in `clock`.
  void add(unsigned stream, const Clock &clock, std::span<const Access> accesses);
  /// Memory that is given back: what comes to lie there later is something else.
  void forget(const void *data, std::size_t bytes);

  const std::vector<std::string> &races() const { return found; }

private:
  struct Past {
    std::uintptr_t begin = 0, end = 0;
    bool writes = false;
    unsigned stream = 0;
    std::uint64_t work = 0;
  };
  std::vector<Past> past; ///< but for what later writes of the same memory stand behind
  std::vector<std::string> found;
};

} // namespace stagewright::cuda::emulation

#endif
