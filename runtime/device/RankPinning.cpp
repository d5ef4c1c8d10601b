#include "runtime/device/RankPinning.h"

#include "runtime/device/CpuQuota.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sched.h>
#include <string>

namespace stagewright::runtime {

static int readQuota() {
  std::ifstream file("/proc/self/cgroup");
  return quotaCores(std::string(std::istreambuf_iterator<char>(file), {}), "/sys/fs/cgroup");
}

int usableCores() {
  static const int quota = readQuota();
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0
             ? std::max(1, std::min(quota, CPU_COUNT(&allowed)))
             : 1;
}

Result<int> pinRank(int localRank) {
  const auto refused = [&] {
    return environmentError("--isolate-ranks",
                            "cannot pin rank " + std::to_string(localRank) +
                                " to a core: " + std::strerror(errno),
                            "run without --isolate-ranks");
  };
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return refused();
  }
  int ordinal = localRank % std::max(1, CPU_COUNT(&allowed));
  int core = 0;
  while (!CPU_ISSET(core, &allowed) || ordinal-- > 0) {
    ++core;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  if (sched_setaffinity(0, sizeof(one), &one) != 0) {
    return refused();
  }
  return core;
}

} // namespace stagewright::runtime
