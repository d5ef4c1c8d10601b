#include "runtime/device/CpuQuota.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace stagewright::runtime {

/// "max" and -1, which are no limits, are no positive numbers.
static int coresOf(std::istream &quotaFile, std::istream &periodFile) {
  double quota = 0, period = 0;
  if (!(quotaFile >> quota) || !(periodFile >> period) || quota <= 0 || period <= 0) {
    return kNoQuota;
  }
  const double cores = quota / period;
  return cores < 1 ? 1 : cores < kNoQuota ? static_cast<int>(cores) : kNoQuota;
}

static int coresOfFolder(const std::string &folder) {
  std::ifstream both(folder + "/cpu.max"); // "150000 100000"
  std::ifstream quota(folder + "/cpu.cfs_quota_us"), period(folder + "/cpu.cfs_period_us");
  return std::min(coresOf(both, both), coresOf(quota, period));
}

/// The folder and those above it, down to `mount`.
static int strictest(const std::string &mount, std::string path) {
  int cores = coresOfFolder(mount);
  while (path.size() > 1) {
    cores = std::min(cores, coresOfFolder(mount + path));
    path.resize(path.rfind('/'));
  }
  return cores;
}

int quotaCores(const std::string &membership, const std::string &root) {
  int cores = kNoQuota;
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) { // "0::/user" or "4:cpu,cpuacct:/user"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line.find('/', second) != second + 1) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1),
                      path = line.substr(second + 1);
    if (controllers.empty()) {
      cores = std::min({cores, strictest(root, path), strictest(root + "/unified", path)});
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      cores = std::min({cores, strictest(root + "/" + controllers, path), strictest(root + "/cpu", path)});
    }
  }
  return cores;
}

} // namespace stagewright::runtime
