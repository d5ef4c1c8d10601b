#include "runtime/device/CpuQuota.h"
#include "runtime/device/RankPinning.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <unistd.h>

using namespace stagewright::runtime;

namespace {

struct Case {
  const char *name;
  const char *membership;
  std::map<std::string, std::string> files; ///< below the root
  int cores;
};

class CpuQuota : public testing::TestWithParam<Case> {};

TEST_P(CpuQuota, IsTheStrictestOnTheWayUp) {
  const std::filesystem::path root = testing::TempDir() + "cgroup-" + std::to_string(getpid());
  for (const auto &[path, text] : GetParam().files) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  }
  EXPECT_EQ(quotaCores(GetParam().membership, root.string()), GetParam().cores);
  std::filesystem::remove_all(root);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, CpuQuota,
    testing::Values(
        Case{"Nothing", "", {}, kNoQuota}, Case{"NoFiles", "0::/user.slice\n", {}, kNoQuota},
        Case{"NoLimit", "0::/\n", {{"cpu.max", "max 100000\n"}}, kNoQuota},
        Case{"Container", "0::/\n", {{"cpu.max", "200000 100000\n"}}, 2},
        Case{"RoundsDown", "0::/\n", {{"cpu.max", "390000 100000\n"}}, 3},
        Case{"AtLeastOne", "0::/\n", {{"cpu.max", "50000 100000\n"}}, 1},
        Case{"OwnGroup", "0::/a/b\n", {{"a/b/cpu.max", "400000 100000\n"}, {"a/cpu.max", "max 100000\n"}}, 4},
        Case{
            "GroupAbove", "0::/a/b\n", {{"a/b/cpu.max", "max 100000\n"}, {"a/cpu.max", "150000 50000\n"}}, 3},
        Case{"OtherGroup", "0::/a/b\n", {{"a/c/cpu.max", "100000 100000\n"}}, kNoQuota},
        Case{"VersionOne",
             "5:memory:/d\n4:cpu,cpuacct:/d/x\n1:name=systemd:/\n",
             {{"cpu,cpuacct/d/x/cpu.cfs_quota_us", "250000\n"},
              {"cpu,cpuacct/d/x/cpu.cfs_period_us", "100000\n"},
              {"memory/d/cpu.max", "100000 100000\n"}},
             2},
        Case{"VersionOneInAContainer",
             "4:cpu,cpuacct:/docker/0123\n",
             {{"cpu/cpu.cfs_quota_us", "600000\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}},
             6},
        Case{"VersionOneNoLimit",
             "4:cpu,cpuacct:/\n",
             {{"cpu/cpu.cfs_quota_us", "-1\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}},
             kNoQuota},
        Case{"OnlyCpuset", "3:cpuset:/\n", {{"cpuset/cpu.cfs_quota_us", "1\n"}}, kNoQuota},
        Case{"Garbage", "::\nx\n0::relative\n0::/\n", {{"cpu.max", "lots\n"}}, kNoQuota}),
    [](const testing::TestParamInfo<Case> &info) { return std::string(info.param.name); });

TEST(UsableCores, AreThoseOfTheMaskOrTheQuota) {
  std::ifstream file("/proc/self/cgroup");
  const std::string membership(std::istreambuf_iterator<char>(file), {});
  EXPECT_GE(usableCores(), 1);
  EXPECT_LE(usableCores(), quotaCores(membership, "/sys/fs/cgroup"));
}

} // namespace
