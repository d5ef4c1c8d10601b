// Property: whatever the bytes are, the loader answers; it never crashes. Damage is sealed again, so that the
// checks of meaning see it. Run under the sanitizers this also proves that no check reads out of bounds.
#include "runtime/executable/Executable.h"
#include "schema/Checksum.h"
#include "stagefile/StageFile.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace stagewright;
using runtime::Executable;

namespace {

bool structureHolds(const std::vector<std::uint8_t> &bytes) {
  flatbuffers::Verifier verifier(bytes.data(), bytes.size());
  return executable::VerifyExecutableBuffer(verifier);
}

/// Overwrites 1, 2, 4 or 8 bytes, at a multiple of their number, with a value from the edge or a random one.
void mutate(std::vector<std::uint8_t> &bytes, std::mt19937_64 &random) {
  const std::size_t width = std::size_t{1} << random() % 4;
  const std::size_t at = random() % (bytes.size() / width) * width;
  const std::uint64_t edges[] = {0,
                                 1,
                                 2,
                                 3,
                                 0x7f,
                                 0xff,
                                 0x7fff,
                                 0xffff,
                                 0x7fffffff,
                                 0xffffffff,
                                 ~std::uint64_t{0} >> 1,
                                 ~std::uint64_t{0},
                                 std::uint64_t{1} << 48,
                                 0xfff0000000000000,
                                 64,
                                 4096};
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, width);
  switch (random() % 4) {
  case 0:
    value = edges[random() % std::size(edges)];
    break;
  case 1:
    value += random() % 2 ? 1 : -1;
    break;
  case 2:
    value ^= std::uint64_t{1} << random() % (8 * width);
    break;
  default:
    value = random();
    break;
  }
  std::memcpy(bytes.data() + at, &value, width);
}

TEST(Mutation, SealedDamageNeverCrashes) {
  std::mt19937_64 random(3);
  int structure = 0, meaning = 0, accepted = 0;
  for (const auto &boundaries : {std::vector<int>{0, 2, 4}, std::vector<int>{0, 1, 2, 3, 4}}) {
    stagefile::Classifier classifier;
    classifier.boundaries = boundaries;
    classifier.microBatches = 2;
    if (boundaries.size() == 3) {
      classifier.targets = {"host", "cuda:sm_90"};
    }
    const std::vector<std::uint8_t> whole = stagefile::serialize(stagefile::build(classifier));
    for (int i = 0; i < 15000; ++i) {
      std::vector<std::uint8_t> damaged = whole;
      for (int changes = 1 + static_cast<int>(random() % 3); changes > 0; --changes) {
        mutate(damaged, random);
      }
      if (!structureHolds(damaged)) {
        ++structure;
        EXPECT_FALSE(Executable::fromBytes(std::move(damaged), "x.stage"));
        continue;
      }
      ASSERT_TRUE(executable::sealExecutable(damaged));
      auto result = Executable::fromBytes(std::move(damaged), "x.stage");
      (result ? accepted : meaning) += 1;
      if (!result) {
        EXPECT_EQ(result.error().kind, ErrorKind::User) << result.error().text();
        EXPECT_EQ(result.error().place.rfind("x.stage", 0), 0u) << result.error().text();
        EXPECT_FALSE(result.error().advice.empty()) << result.error().text();
      }
    }
  }
  // All three outcomes are met, so that the test tests what it says. (Names, costs and settings may be
  // anything.)
  EXPECT_GT(structure, 2000);
  EXPECT_GT(meaning, 2000);
  EXPECT_GT(accepted, 100);
  RecordProperty("structure", structure);
  RecordProperty("meaning", meaning);
  RecordProperty("accepted", accepted);
}

} // namespace
