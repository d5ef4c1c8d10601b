// Files in place of memory: what is written comes back, and what does not is told.
#include "runtime/device/FileStore.h"

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <numeric>
#include <random>
#include <sys/resource.h>
#include <unistd.h>

using stagewright::Error;
using stagewright::ErrorKind;
using stagewright::runtime::FileStore;

namespace {

std::string folder() {
  return testing::TempDir();
}

/// A second descriptor of the store's file, the only one of the folder without a name: as if the disk changed
/// it.
int openBehind() {
  for (const auto &entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.starts_with(std::filesystem::canonical(folder()).string()) && target.ends_with(" (deleted)")) {
      return open(entry.path().c_str(), O_RDWR);
    }
  }
  return -1;
}

std::vector<std::byte> random(std::size_t bytes, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<std::byte> values(bytes);
  for (std::byte &value : values) {
    value = static_cast<std::byte>(engine());
  }
  return values;
}

std::unique_ptr<FileStore> make(std::uint64_t bytes, std::vector<FileStore::Extent> extents,
                                bool asynchronous = true) {
  auto store = FileStore::create(folder(), "test", bytes, std::move(extents), asynchronous);
  EXPECT_TRUE(store) << store.error().text();
  return std::move(*store);
}

} // namespace

TEST(FileStore, BeginsWithZerosAndKeepsWhatIsWritten) {
  auto store = make(5000, {{1000, 1}, {64, 100}, {1001, 3999}}); // in any order, with gaps
  std::vector<std::byte> got(5000, std::byte{7});
  ASSERT_TRUE(store->read(64, 100, got.data()));
  EXPECT_EQ(std::accumulate(got.begin(), got.begin() + 100, 0,
                            [](int sum, std::byte value) { return sum + std::to_integer<int>(value); }),
            0);
  const auto values = random(4000, 1);
  ASSERT_TRUE(store->write(1000, 4000, values.data())); // two extents at once
  ASSERT_TRUE(store->read(1000, 4000, got.data()));
  EXPECT_EQ(std::memcmp(got.data(), values.data(), 4000), 0);
  ASSERT_TRUE(store->read(1500, 17, got.data())); // a part of one
  EXPECT_EQ(std::memcmp(got.data(), values.data() + 500, 17), 0);
  ASSERT_TRUE(store->read(1000, 5, got.data())); // across two
  EXPECT_EQ(std::memcmp(got.data(), values.data(), 5), 0);
  EXPECT_FALSE(std::filesystem::exists(store->path()));
  ASSERT_TRUE(store->write(64, 100, values.data())); // what has been read before is not what there is now
  ASSERT_TRUE(store->read(70, 9, got.data()));
  EXPECT_EQ(std::memcmp(got.data(), values.data() + 6, 9), 0);
}

class Operations : public testing::TestWithParam<bool> {};

TEST_P(Operations, EndInAnyOrder) {
  constexpr std::size_t count = 100, size = 12289; // more than the ring has entries
  std::vector<FileStore::Extent> extents;
  for (std::size_t i = 0; i < count; ++i) {
    extents.push_back({i * size, size});
  }
  auto store = make(count * size, extents, GetParam());
  EXPECT_LE(store->isAsynchronous(), GetParam()); // a container may forbid io_uring
  const auto values = random(count * size, 2);
  std::vector<FileStore::Operation> operations;
  for (std::size_t i = 0; i < count; ++i) {
    operations.push_back(*store->beginWrite(i * size, size, values.data() + i * size));
  }
  for (std::size_t i = count; i-- > 0;) {
    ASSERT_TRUE(store->end(operations[i]));
  }
  std::vector<std::byte> got(count * size);
  for (std::size_t i = 0; i < count; ++i) {
    operations[i] = *store->beginRead(i * size, size, got.data() + i * size);
  }
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_TRUE(store->end(operations[(i * 37) % count]));
  }
  EXPECT_EQ(got, values);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutRing, Operations, testing::Bool());

TEST(FileStore, TellsBytesThatAreNotThoseThatWereWritten) {
  auto store = make(300, {{0, 100}, {100, 100}, {200, 100}});
  const auto values = random(300, 3);
  ASSERT_TRUE(store->write(0, 300, values.data()));
  const int behind = openBehind();
  ASSERT_GE(behind, 0);
  const std::byte other = values[150] ^ std::byte{1};
  ASSERT_EQ(pwrite(behind, &other, 1, 150), 1);
  close(behind);
  std::vector<std::byte> got(300);
  EXPECT_TRUE(store->read(0, 100, got.data()));
  EXPECT_TRUE(store->read(200, 100, got.data()));
  const auto read = store->read(0, 300, got.data());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::Environment);
  EXPECT_EQ(read.error().place, store->path());
  EXPECT_NE(read.error().what.find("100 bytes at 100"), std::string::npos) << read.error().text();
  EXPECT_NE(read.error().what.find("checksum"), std::string::npos);
}

TEST(FileStore, TellsAFileThatEndsTooEarly) {
  auto store = make(300, {{0, 100}, {100, 200}});
  const int behind = openBehind();
  ASSERT_GE(behind, 0);
  ASSERT_EQ(ftruncate(behind, 250), 0);
  close(behind);
  std::vector<std::byte> got(300);
  EXPECT_TRUE(store->read(0, 100, got.data()));
  const auto read = store->read(100, 200, got.data());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::Environment);
  EXPECT_EQ(read.error().place, store->path());
  EXPECT_NE(read.error().what.find("cannot read 200 bytes at 100"), std::string::npos) << read.error().text();
}

TEST(FileStore, RefusesRangesThatAreNotExtents) {
  auto store = make(300, {{0, 100}, {100, 100}, {250, 50}});
  std::vector<std::byte> got(300);
  for (const auto &[offset, bytes] : {std::pair{1u, 99u}, {0u, 150u}, {0u, 300u}, {200u, 50u}, {0u, 0u}}) {
    EXPECT_FALSE(store->beginRead(offset, bytes, got.data())) << offset << " " << bytes;
    EXPECT_FALSE(store->beginWrite(offset, bytes, got.data())) << offset << " " << bytes;
  }
  ASSERT_TRUE(store->end(*store->beginRead(0, 200, got.data())));
  EXPECT_FALSE(store->read(190, 20, got.data())); // into the gap
  EXPECT_FALSE(store->read(210, 10, got.data()));
  EXPECT_FALSE(store->read(290, 20, got.data()));
  EXPECT_TRUE(store->read(250, 50, got.data()));
}

TEST(FileStore, NamesTheFolderThatIsNotThere) {
  const auto store = FileStore::create("/nowhere/at/all", "states", 100, {});
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().kind, ErrorKind::Environment);
  EXPECT_EQ(store.error().place.rfind("/nowhere/at/all/stagewright-", 0), 0u) << store.error().text();
}

TEST(FileStore, ReservesItsSpace) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto store = FileStore::create(folder(), "states", 2000, {{0, 2000}});
  setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().kind, ErrorKind::Environment);
  EXPECT_NE(store.error().what.find("cannot reserve 2000 bytes: File too large"), std::string::npos)
      << store.error().text();
}
