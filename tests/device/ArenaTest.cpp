#include "runtime/device/HostDevice.h"
#include "runtime/device/RankPinning.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sched.h>
#include <sstream>
#include <sys/resource.h>
#include <thread>
#include <utility>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

Arena make(HostDevice &device, std::size_t bytes) {
  Result<Arena> arena = device.allocate("test", bytes);
  EXPECT_TRUE(arena) << arena.error().text();
  return arena ? std::move(*arena) : Arena();
}

/// The mapping of this process that contains `address`, as the kernel describes it.
struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::string access;
};
Mapping mappingAt(const void *address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    Mapping mapping;
    char dash = 0;
    std::istringstream(line) >> std::hex >> mapping.begin >> dash >> mapping.end >> mapping.access;
    if (mapping.begin <= wanted && wanted < mapping.end) {
      return mapping;
    }
  }
  return {};
}

long minorFaults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

TEST(Arena, IsOneReadWriteMappingOfWholePagesBetweenGuards) {
  HostDevice device;
  for (const std::size_t bytes : {std::size_t{1}, pageBytes() - 1, pageBytes(), pageBytes() + 1,
                                  std::size_t{1000003}, std::size_t{2} << 20, (std::size_t{5} << 20) + 17}) {
    const Arena arena = make(device, bytes);
    EXPECT_EQ(arena.bytes(), bytes);
    EXPECT_EQ(arena.mappedBytes(), (bytes + pageBytes() - 1) / pageBytes() * pageBytes());
    const auto begin = reinterpret_cast<std::uintptr_t>(arena.data());
    const Mapping own = mappingAt(arena.data());
    EXPECT_EQ(own.begin, begin);
    EXPECT_EQ(own.end, begin + arena.mappedBytes());
    EXPECT_EQ(own.access, "rw-p");
    EXPECT_EQ(mappingAt(arena.data() - 1).access, "---p");
    EXPECT_EQ(mappingAt(arena.data() + arena.mappedBytes()).access, "---p");
    EXPECT_EQ(begin % (bytes >= (std::size_t{2} << 20) ? std::size_t{2} << 20 : pageBytes()), 0u);
  }
}

TEST(ArenaDeathTest, GuardPagesStopOverruns) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  HostDevice device;
  const Arena arena = make(device, 3 * pageBytes());
  volatile std::byte *const data = arena.data();
  EXPECT_DEATH(data[-1] = std::byte{1}, "");
  EXPECT_DEATH(data[3 * pageBytes()] = std::byte{1}, "");
}

/// Writes every cache line and returns the page faults that this took, or -1 when a line was not zero. The
/// sanitizers stay out, because their shadow memory faults.
__attribute__((disable_sanitizer_instrumentation)) long faultsOfFirstUse(std::byte *data, std::size_t bytes) {
  const long before = minorFaults();
  bool zero = true;
  for (std::size_t i = 0; i < bytes; i += 64) {
    volatile std::byte &line = data[i];
    zero = zero && line == std::byte{0};
    line = std::byte{1};
  }
  return zero ? minorFaults() - before : -1;
}

TEST(Arena, IsZeroAndResidentFromTheStart) {
  HostDevice device;
  for (const std::size_t bytes : {std::size_t{1} << 20, std::size_t{64} << 20}) { // small and huge pages
    const Arena arena = make(device, bytes);
    const long faults = faultsOfFirstUse(arena.data(), bytes);
    EXPECT_GE(faults, 0);
    EXPECT_LE(faults, 8); // one per page if they were not resident: 256, or 32 for huge pages
  }
}

TEST(Arena, BytesAreCountedWhileItLives) {
  HostDevice device;
  EXPECT_EQ(device.plannedBytes(), 0u);
  {
    Arena first = make(device, 10);
    Arena second = make(device, 2 * pageBytes() + 1);
    EXPECT_EQ(device.plannedBytes(), 10 + 2 * pageBytes() + 1);
    EXPECT_EQ(device.mappedBytes(), 4 * pageBytes());
    Arena moved = std::move(first);
    EXPECT_EQ(first.data(), nullptr);
    EXPECT_EQ(moved.bytes(), 10u);
    EXPECT_EQ(moved.name(), "test");
    EXPECT_EQ(device.mappedBytes(), 4 * pageBytes());
    second.release();
    second.release();
    EXPECT_EQ(device.plannedBytes(), 10u);
    moved = make(device, 5 * pageBytes()); // the memory that it held is given back
    EXPECT_EQ(device.mappedBytes(), 5 * pageBytes());
  }
  EXPECT_EQ(device.plannedBytes(), 0u);
  EXPECT_EQ(device.mappedBytes(), 0u);
}

TEST(Arena, ReleaseUnmapsGuardsToo) {
  HostDevice device;
  Arena arena = make(device, std::size_t{4} << 20);
  std::byte *const data = arena.data();
  arena.release();
  EXPECT_EQ(mappingAt(data).access, "");
  EXPECT_EQ(mappingAt(data - 1).access, "");
}

TEST(Arena, NoBytesMapNothingReadable) {
  HostDevice device;
  const Arena arena = make(device, 0);
  EXPECT_NE(arena.data(), nullptr);
  EXPECT_EQ(arena.mappedBytes(), 0u);
  EXPECT_EQ(mappingAt(arena.data()).access, "---p");
}

TEST(Arena, PoisonIsNaNInsideTheRangeOnly) {
  HostDevice device;
  Arena arena = make(device, 64);
  arena.poison(8, 16);
  float single[16];
  std::memcpy(single, arena.data(), sizeof(single));
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(std::isnan(single[i]), i >= 2 && i < 6) << i;
  }
  double wide = 0;
  std::memcpy(&wide, arena.data() + 8, sizeof(wide));
  EXPECT_TRUE(std::isnan(wide));
  std::uint16_t half = 0;
  std::memcpy(&half, arena.data() + 8, sizeof(half));
  EXPECT_EQ(half & 0x7C00, 0x7C00); // f16: exponent all ones,
  EXPECT_NE(half & 0x03FF, 0);      // fraction not zero
  EXPECT_EQ(half & 0x7F80, 0x7F80); // bf16 likewise
  EXPECT_NE(half & 0x007F, 0);
}

TEST(Arena, TooManyBytesAreAnErrorThatSaysHowMany) {
  HostDevice device;
  const Result<Arena> arena = device.allocate("activations", std::size_t{1} << 60);
  ASSERT_FALSE(arena);
  EXPECT_EQ(arena.error().kind, ErrorKind::Environment);
  EXPECT_NE(arena.error().text().find("1152921504606846976 bytes"), std::string::npos)
      << arena.error().text();
  EXPECT_NE(arena.error().text().find("activations"), std::string::npos);
  EXPECT_FALSE(arena.error().advice.empty());
  EXPECT_EQ(device.mappedBytes(), 0u);
}

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer) // they map terabytes themselves
TEST(Arena, ALimitOfTheProcessIsAnError) {
  HostDevice device;
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  const rlimit tight{std::size_t{256} << 20, before.rlim_max};
  setrlimit(RLIMIT_AS, &tight);
  const Result<Arena> arena = device.allocate("weights", std::size_t{512} << 20);
  setrlimit(RLIMIT_AS, &before);
  ASSERT_FALSE(arena);
  EXPECT_EQ(arena.error().kind, ErrorKind::Environment);
  EXPECT_NE(arena.error().text().find("536870912 bytes"), std::string::npos) << arena.error().text();
}
#endif

TEST(RankPinning, PutsEachRankOnOneOfTheUsableCores) {
  const int cores = usableCores();
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  EXPECT_EQ(cores, CPU_COUNT(&allowed));
  std::vector<int> chosen;
  for (int rank = 0; rank < 2 * cores; ++rank) {
    std::thread([&] {
      const Result<int> core = pinRank(rank);
      ASSERT_TRUE(core) << core.error().text();
      EXPECT_TRUE(CPU_ISSET(*core, &allowed));
      EXPECT_EQ(sched_getcpu(), *core);
      EXPECT_EQ(usableCores(), 1);
      chosen.push_back(*core);
    }).join();
  }
  for (int rank = 0; rank < cores; ++rank) {
    EXPECT_EQ(chosen[rank], chosen[rank + cores]);
    EXPECT_EQ(std::count(chosen.begin(), chosen.end(), chosen[rank]), 2);
  }
  EXPECT_EQ(usableCores(), cores); // other threads keep theirs
}

} // namespace
