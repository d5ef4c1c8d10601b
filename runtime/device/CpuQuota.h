// How much processor time the cgroups of this process grant: the limit of a container (docker --cpus, the CPU
// limit of a Kubernetes pod), which the affinity mask does not show.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_CPUQUOTA_H
#define STAGEWRIGHT_RUNTIME_DEVICE_CPUQUOTA_H

#include <limits>
#include <string>

namespace stagewright::runtime {

inline constexpr int kNoQuota = std::numeric_limits<int>::max();

/// Whole cores' worth of time (rounded down, at least 1) that the strictest limit on the way from the
/// process's cgroup to the root grants, or kNoQuota. `membership` is the text of /proc/self/cgroup, `root`
/// the folder where cgroups are mounted (/sys/fs/cgroup). Reads cpu.max (version 2) or cpu.cfs_quota_us and
/// cpu.cfs_period_us (version 1); what is missing or not understood limits nothing.
int quotaCores(const std::string &membership, const std::string &root);

} // namespace stagewright::runtime

#endif
