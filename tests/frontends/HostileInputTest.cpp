// Damaged files never crash the readers, and every refusal is a user's error with a place and advice.
#include "ReferenceFiles.h"
#include "TemporaryFile.h"
#include "frontends/config/Config.h"
#include "frontends/layerspec/ModelSpec.h"

#include <gtest/gtest.h>

#include <random>

using namespace stagewright;

static constexpr int kMutations = 20000;

/// One to eight edits: a byte replaced, removed, inserted or doubled, a span cut out or copied, or the end
/// cut off.
static std::string mutate(std::string text, std::mt19937 &random) {
  static constexpr char kTelling[] = "{}[]\",:#/*\\\n\0 -+.0e19tfnu\xC3\xA4\xFF\x80";
  auto below = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
  for (std::size_t edits = 1 + below(8); edits > 0; --edits) {
    std::size_t at = below(text.size()), length = below(16);
    switch (below(7)) {
    case 0:
      if (!text.empty())
        text[at] = static_cast<char>(below(256));
      break;
    case 1:
      if (!text.empty())
        text[at] = kTelling[below(sizeof(kTelling) - 1)];
      break;
    case 2:
      text.erase(at, 1);
      break;
    case 3:
      text.insert(at, 1, kTelling[below(sizeof(kTelling) - 1)]);
      break;
    case 4:
      text.erase(at, length);
      break;
    case 5:
      text.insert(below(text.size()), text.substr(at, length));
      break;
    default:
      if (below(8) == 0)
        text.resize(at);
    }
  }
  return text;
}

/// Both readers read every mutation of the file; returns how many were accepted by the one that it is meant
/// for.
template <typename Read>
static int countAccepted(const std::string &original, Read read) {
  std::mt19937 random(20240607);
  TemporaryFile file(original);
  int accepted = 0;
  for (int i = 0; i < kMutations; ++i) {
    std::string text = mutate(original, random);
    file.write(text);
    auto result = read(file.path());
    if (result) {
      ++accepted;
      continue;
    }
    const Error &error = result.error();
    bool isClean = error.kind == ErrorKind::User && error.place.starts_with(file.path()) &&
                   !error.what.empty() && !error.advice.empty() &&
                   error.text().find('\n') == std::string::npos;
    EXPECT_TRUE(isClean) << error.text() << "\n" << text;
    if (!isClean)
      break;
  }
  return accepted;
}

TEST(HostileInput, MutatedConfigurations) {
  std::string original = fileBytes(STAGEWRIGHT_MODELS "/fashion_mlp/config.json");
  int accepted = countAccepted(original, [](const std::string &path) { return readConfig(path, {}); });
  EXPECT_GT(accepted, kMutations / 100); // mutations of numbers and comments
  EXPECT_LT(accepted, kMutations / 2);
}

TEST(HostileInput, MutatedModels) {
  std::string original = fileBytes(STAGEWRIGHT_MODELS "/fashion_mlp/model.json");
  int accepted = countAccepted(original, [](const std::string &path) { return readModelSpec(path); });
  EXPECT_GT(accepted, kMutations / 100);
  EXPECT_LT(accepted, kMutations / 2);
}

TEST(HostileInput, EveryTruncationIsRefused) {
  for (const char *name : {"config.json", "model.json"}) {
    std::string original = fileBytes(std::string(STAGEWRIGHT_MODELS "/fashion_mlp/") + name);
    std::size_t last = original.find_last_of('}');
    TemporaryFile file("");
    for (std::size_t size = 0; size <= last; ++size) {
      file.write(original.substr(0, size));
      EXPECT_FALSE(readConfig(file.path(), {}));
      EXPECT_FALSE(readModelSpec(file.path()));
    }
  }
}

TEST(HostileInput, LargeNamesAndListsAreRefusedQuickly) {
  const std::string huge(3 << 20, 'x');
  TemporaryFile file("{\"" + huge + "\": 1}");
  Result<Config> config = readConfig(file.path(), {});
  ASSERT_FALSE(config);
  EXPECT_LT(config.error().text().size(), 2000u);
  std::string model = fileBytes(STAGEWRIGHT_MODELS "/fashion_mlp/model.json"), layers;
  for (int i = 0; i < 50000; ++i)
    layers += "{\"type\": \"T" + std::to_string(i) + "\"},\n";
  model.insert(model.find("{\"type\": \"Flatten\""), layers);
  file.write(model);
  Result<ModelSpec> spec = readModelSpec(file.path());
  ASSERT_FALSE(spec);
  EXPECT_LT(spec.error().text().size(), 4000u);
}
