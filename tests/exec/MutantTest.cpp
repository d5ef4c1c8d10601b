// What the loader accepts can be run: damaged files that pass every check train a step without touching
// memory that is not theirs (the arenas have guard pages, and the sanitizers watch).
#include "TestRun.h"

#include "schema/Checksum.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

TEST(Mutant, WhatIsAcceptedRuns) {
  std::mt19937_64 random(11);
  const std::vector<std::uint8_t> whole =
      stagefile::serialize(stagefile::build(classifier({0, 2, 4}, "zb-h1", 3)));
  int tried = 0, ran = 0, ended = 0;
  for (; ran + ended < 250 && tried < 20000; ++tried) {
    std::vector<std::uint8_t> bytes = whole;
    const std::size_t width = std::size_t{1} << random() % 4;
    const std::size_t at = random() % (bytes.size() / width) * width;
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, width);
    value = random() % 2 ? value ^ std::uint64_t{1} << random() % (8 * width) : random() % 300;
    std::memcpy(bytes.data() + at, &value, width);
    flatbuffers::Verifier verifier(bytes.data(), bytes.size());
    if (!executable::VerifyExecutableBuffer(verifier) || !executable::sealExecutable(bytes) ||
        bytes == whole) {
      continue;
    }
    auto executable = Executable::fromBytes(bytes, "x.stage");
    if (!executable || executable->plannedBytes(0) + executable->plannedBytes(1) > 1 << 26) {
      continue;
    }
    TrainOptions run = options(classifier({0, 2, 4}), "mutant", 2);
    std::ofstream(run.stage, std::ios::binary)
        .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    auto summary = train(run);
    (summary ? ran : ended) += 1;
    std::filesystem::remove(run.stage);
    if (!summary) { // a loss that is not finite, at most
      EXPECT_EQ(summary.error().kind, ErrorKind::User) << summary.error().text();
    }
  }
  EXPECT_GT(ran, 200);
}

} // namespace
