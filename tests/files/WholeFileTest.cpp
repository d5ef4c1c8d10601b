#include "files/WholeFile.h"

#include "stagefile/StageFile.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace stagewright;

namespace {

namespace fs = std::filesystem;

/// A test's folder, with "old" in the file "x".
class WholeFiles : public testing::Test {
protected:
  void SetUp() override {
    fs::create_directory(folder);
    std::ofstream(folder / "x") << "old";
  }
  void TearDown() override { fs::remove_all(folder); }

  std::string path(const char *name) const { return folder / name; }
  static std::string read(const std::string &path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto &entry : fs::directory_iterator(folder)) {
      names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  const fs::path folder = stagefile::temporaryFolder() + "files";
};

TEST_F(WholeFiles, NewAndReplaced) {
  std::string large(3'000'000, 'n');
  for (const char *name : {"x", "y"}) {
    ASSERT_TRUE(writeWholeFile(path(name), large));
    EXPECT_EQ(read(path(name)), large);
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"x", "y"}));
}

TEST_F(WholeFiles, RelativePath) {
  fs::path before = fs::current_path();
  fs::current_path(folder);
  EXPECT_TRUE(writeWholeFile("y", "new"));
  fs::current_path(before);
  EXPECT_EQ(read(path("y")), "new");
}

TEST_F(WholeFiles, NothingBeforeTheCommit) {
  {
    Result<WholeFile> file = WholeFile::create(path("x"));
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("new", 3));
    WholeFile moved = std::move(*file);
    EXPECT_EQ(read(path("x")), "old");
  }
  EXPECT_EQ(read(path("x")), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"x"});
}

TEST_F(WholeFiles, AKilledProgramLeavesNothing) {
  Result<WholeFile> probe = WholeFile::create(path("y"));
  ASSERT_TRUE(probe);
  if (names().size() > 1) {
    GTEST_SKIP() << "this file system has no files without a name";
  }
  pid_t child = fork();
  if (child == 0) {
    Result<WholeFile> file = WholeFile::create(path("x"));
    (void)!file->write("new", 3);
    raise(SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_EQ(names(), std::vector<std::string>{"x"});
  EXPECT_EQ(read(path("x")), "old");
}

TEST_F(WholeFiles, LinksAreFollowed) {
  fs::create_directory(folder / "below");
  fs::create_symlink("x", folder / "link");
  fs::create_symlink("../link", folder / "below" / "chain");
  fs::create_symlink("below/none", folder / "dangling");
  ASSERT_TRUE(writeWholeFile(path("below/chain"), "new"));
  EXPECT_EQ(read(path("x")), "new");
  ASSERT_TRUE(writeWholeFile(path("dangling"), "other"));
  EXPECT_EQ(read(path("below/none")), "other");
  for (const char *name : {"link", "below/chain", "dangling"}) {
    EXPECT_TRUE(fs::is_symlink(folder / name)) << name;
  }
  fs::create_symlink("ring", folder / "ring");
  EXPECT_FALSE(writeWholeFile(path("ring"), "new"));
}

TEST_F(WholeFiles, OnlyRegularFilesAreReplaced) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", folder / "link");
  for (const std::string &place : {path("pipe"), path("link"), path("."), path("none/x"), path("x/y")}) {
    Result<void> written = writeWholeFile(place, "new");
    ASSERT_FALSE(written) << place;
    EXPECT_EQ(written.error().kind, ErrorKind::User);
    EXPECT_EQ(written.error().place, place);
    EXPECT_FALSE(written.error().advice.empty());
  }
  EXPECT_TRUE(fs::is_fifo(folder / "pipe"));
  EXPECT_EQ(names(), (std::vector<std::string>{"link", "pipe", "x"}));
}

TEST_F(WholeFiles, PermissionsOfAReplacedFileStay) {
  fs::permissions(folder / "x", fs::perms(0600));
  ASSERT_TRUE(writeWholeFile(path("x"), "new"));
  EXPECT_EQ(fs::status(folder / "x").permissions(), fs::perms(0600));
  mode_t before = umask(027);
  EXPECT_TRUE(writeWholeFile(path("y"), "new"));
  umask(before);
  EXPECT_EQ(fs::status(folder / "y").permissions(), fs::perms(0640));
}

} // namespace
