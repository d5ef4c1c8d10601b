// Structure: which files are refused before their meaning is looked at, and what good ones give back.
#include "runtime/executable/Executable.h"
#include "schema/Checksum.h"
#include "stagefile/StageFile.h"

#include <cstdio>
#include <filesystem>
#include <gtest/gtest.h>
#include <random>
#include <sys/stat.h>

using namespace stagewright;
using runtime::Executable;
using stagefile::Classifier;

namespace {

std::string failure(std::vector<std::uint8_t> bytes) {
  auto result = Executable::fromBytes(std::move(bytes), "x.stage");
  return result ? "" : result.error().text();
}

struct Plan {
  std::vector<int> boundaries;
  const char *schedule;
};

class GoodFiles : public testing::TestWithParam<Plan> {};

TEST_P(GoodFiles, Load) {
  Classifier classifier;
  classifier.boundaries = GetParam().boundaries;
  classifier.schedule = GetParam().schedule;
  auto result = Executable::fromBytes(stagefile::serialize(stagefile::build(classifier)), "x.stage");
  ASSERT_TRUE(result) << result.error().text();
  const int stages = static_cast<int>(classifier.boundaries.size()) - 1;
  EXPECT_EQ(result->rankCount(), stages);
  EXPECT_EQ(result->trainSchedule().rankCount(), stages);
  EXPECT_EQ(result->trainSchedule().microBatches, 4);
  EXPECT_EQ(result->integerRules(), (std::vector<runtime::IntegerRule>{{}, {.limit = 10, .ignored = -100}}));
  auto expected = schedule::generate(classifier.schedule, stages, 4);
  ASSERT_TRUE(expected);
  auto transfers = schedule::addTransfers(*expected);
  ASSERT_TRUE(transfers);
  EXPECT_EQ(result->trainSchedule().ranks, schedule::addStepTasks(*transfers).ranks);
  std::uint64_t planned = 0;
  for (const executable::Arena *arena : *result->rank(0).arenas()) {
    planned += (arena->bytes() + 4095) / 4096 * 4096;
  }
  EXPECT_EQ(result->plannedBytes(0), planned);
}

INSTANTIATE_TEST_SUITE_P(Plans, GoodFiles,
                         testing::Values(Plan{{0, 4}, "1f1b"}, Plan{{0, 4}, "gpipe"}, Plan{{0, 4}, "zb-h1"},
                                         Plan{{0, 2, 4}, "1f1b"}, Plan{{0, 3, 4}, "gpipe"},
                                         Plan{{0, 1, 4}, "zb-h1"}, Plan{{0, 2, 3, 4}, "1f1b"},
                                         Plan{{0, 2, 3, 4}, "zb-h1"}, Plan{{0, 1, 2, 3, 4}, "gpipe"},
                                         Plan{{0, 1, 2, 3, 4}, "1f1b"}));

TEST(Loader, ReadsFromDisk) {
  const std::string path = stagefile::temporaryFolder() + "loader-good.stage";
  stagefile::write(path, {});
  auto result = Executable::load(path);
  ASSERT_TRUE(result) << result.error().text();
  EXPECT_EQ(result->name(), path);
  // The bytes survive a move.
  Executable moved = std::move(*result);
  EXPECT_EQ(moved.file().model()->str(), "classifier");
  std::filesystem::remove(path);
}

TEST(Loader, RefusesWhatIsNoFile) {
  for (const std::string &path :
       {std::string("/nowhere/x.stage"), std::string("/tmp"), std::string("/dev/null")}) {
    auto result = Executable::load(path);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::User);
    EXPECT_EQ(result.error().place, path);
    EXPECT_FALSE(result.error().advice.empty());
  }
}

TEST(Loader, RefusesHugeFilesUnread) {
  const std::string path = stagefile::temporaryFolder() + "loader-huge.stage";
  std::FILE *file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  std::fclose(file);
  std::filesystem::resize_file(path, runtime::kMaxExecutableBytes + 1); // sparse
  auto result = Executable::load(path);
  std::filesystem::remove(path);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().what.find("more than"), std::string::npos);
}

TEST(Loader, RefusesTruncatedFiles) {
  const std::vector<std::uint8_t> whole = stagefile::serialize(stagefile::build({}));
  std::mt19937 random(1);
  std::vector<std::size_t> lengths{0, 1, 3, 4, 7, 8, whole.size() - 1};
  while (lengths.size() < 200) {
    lengths.push_back(random() % whole.size());
  }
  for (const std::size_t length : lengths) {
    const std::string text = failure({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
    EXPECT_EQ(text.rfind("x.stage", 0), 0u) << length << ": " << text;
  }
}

TEST(Loader, RefusesFlippedBytes) {
  const std::vector<std::uint8_t> whole = stagefile::serialize(stagefile::build({}));
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    std::vector<std::uint8_t> damaged = whole;
    damaged[random() % damaged.size()] ^= static_cast<std::uint8_t>(1 + random() % 255);
    EXPECT_NE(failure(std::move(damaged)), "");
  }
}

TEST(Loader, RefusesBytesBehindTheFile) {
  std::vector<std::uint8_t> longer = stagefile::serialize(stagefile::build({}));
  longer.push_back(0);
  EXPECT_NE(failure(std::move(longer)).find("SHA-256"), std::string::npos);
}

TEST(Loader, NamesAnUnsealedFile) {
  EXPECT_NE(failure(stagefile::serialize(stagefile::build({}), /*seal=*/false)).find("x.stage at checksum"),
            std::string::npos);
}

TEST(Loader, ChecksumIsTheSha256OfTheFileWithZerosInItsPlace) {
  std::vector<std::uint8_t> sealed = stagefile::serialize(stagefile::build({}));
  const auto *field =
      reinterpret_cast<const std::uint8_t *>(executable::GetExecutable(sealed.data())->checksum());
  const std::vector<std::uint8_t> stored(field, field + 32);
  const std::string path = stagefile::temporaryFolder() + "loader-checksum.stage";
  std::fill_n(sealed.begin() + (field - sealed.data()), 32, std::uint8_t{0});
  std::FILE *file = std::fopen(path.c_str(), "wb");
  std::fwrite(sealed.data(), 1, sealed.size(), file);
  std::fclose(file);
  // coreutils is the independent truth.
  std::FILE *pipe = ::popen(("sha256sum " + path).c_str(), "r");
  char hex[65] = {};
  ASSERT_EQ(std::fread(hex, 1, 64, pipe), 64u);
  ::pclose(pipe);
  std::filesystem::remove(path);
  std::string expected;
  for (const std::uint8_t byte : stored) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    expected += two;
  }
  EXPECT_EQ(std::string(hex), expected);
}

TEST(Loader, NamesVersionsAndFeatures) {
  executable::ExecutableT file = stagefile::build({});
  file.version_major = 2;
  EXPECT_NE(
      failure(stagefile::serialize(file)).find("x.stage at version_major: the file has format version 2."),
      std::string::npos);
  file = stagefile::build({});
  file.version_minor = 77; // newer minor versions only append
  EXPECT_EQ(failure(stagefile::serialize(file)), "");
  file.required_features = std::uint64_t{1} << 40;
  EXPECT_NE(failure(stagefile::serialize(file)).find("x.stage at required_features"), std::string::npos);
}

} // namespace
