#include "TestData.h"

#include "runtime/train/Engine.h"
#include "runtime/train/Random.h"
#include "stagefile/StageFile.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <openssl/sha.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testdata;

namespace {

const stagefile::Classifier kClassifier;

TrainOptions optionsFor(const Folder &folder) {
  TrainOptions options;
  options.stage = stagefile::write(folder.path("x.stage"), kClassifier);
  options.data = "synthetic";
  options.steps = 1;
  options.threads = 1;
  options.saveWeights = folder.path("out.safetensors");
  return options;
}

/// The initial weights: what a step with learning rate 0 saves.
Tensors initialWeights(const std::vector<int> &boundaries, std::uint64_t seed) {
  const Folder folder;
  stagefile::Classifier classifier;
  classifier.boundaries = boundaries;
  classifier.seed = seed;
  classifier.optimizer = "sgd";
  classifier.learningRate = 0;
  TrainOptions options = optionsFor(folder);
  stagefile::write(options.stage, classifier);
  auto summary = train(options);
  EXPECT_TRUE(summary) << summary.error().text();
  return parseSafetensors(readAll(options.saveWeights));
}

TEST(ModelState, WeightsAreDrawnByName) {
  const Tensors weights = initialWeights({0, 2, 4}, 99);
  ASSERT_EQ(weights.size(), 4u);
  const std::map<std::string, double> bounds{{"fc1.weight", 1 / std::sqrt(35.0)},
                                             {"fc1.bias", 1 / std::sqrt(35.0)},
                                             {"fc2.weight", 1 / std::sqrt(33.0)},
                                             {"fc2.bias", 1 / std::sqrt(33.0)}};
  for (const auto &[name, tensor] : weights) {
    std::vector<float> expected(tensor.values.size());
    RandomStream(99, name).fillUniform(expected, bounds.at(name));
    EXPECT_EQ(tensor.values, expected) << name;
  }
  EXPECT_EQ(weights.at("fc2.weight").shape, (std::vector<std::int64_t>{10, 33}));
  const Tensors other = initialWeights({0, 1, 2, 3, 4}, 99);
  EXPECT_EQ(other.at("fc2.weight").values, weights.at("fc2.weight").values);
  EXPECT_NE(initialWeights({0, 4}, 98).at("fc1.bias").values, weights.at("fc1.bias").values);
}

std::string hexOf(const Bytes &bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(bytes.data(), bytes.size(), digest);
  std::string text;
  for (const unsigned char byte : digest) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    text += two;
  }
  return text;
}

void append(Bytes &bytes, const std::vector<float> &values) {
  const auto *raw = reinterpret_cast<const std::uint8_t *>(values.data());
  bytes.insert(bytes.end(), raw, raw + 4 * values.size());
}

TEST(ModelState, HashesAreOverTheStatedBytes) {
  const Folder folder;
  TrainOptions options = optionsFor(folder);
  stagefile::Classifier classifier;
  classifier.optimizer = "sgd";
  classifier.gradientClipping = 0;
  classifier.momentum = 0.5;
  classifier.learningRate =
      0.125; // exact: momentum buffer = (before - after) * 8 up to rounding of the update
  stagefile::write(options.stage, classifier);
  options.steps = 3;
  auto summary = train(options);
  ASSERT_TRUE(summary) << summary.error().text();
  Bytes bytes;
  for (const auto &[name, tensor] : parseSafetensors(readAll(options.saveWeights))) {
    append(bytes, tensor.values);
  }
  EXPECT_EQ(summary->weightsSha256, hexOf(bytes));
  EXPECT_NE(summary->stateSha256, summary->weightsSha256);

  // With plain SGD there is no state: the state's hash is over the weights and the number of steps.
  classifier.momentum = 0;
  stagefile::write(options.stage, classifier);
  summary = train(options);
  ASSERT_TRUE(summary);
  bytes.clear();
  for (const auto &[name, tensor] : parseSafetensors(readAll(options.saveWeights))) {
    append(bytes, tensor.values);
  }
  const Bytes steps{3, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(summary->weightsSha256, hexOf(bytes));
  bytes.insert(bytes.end(), steps.begin(), steps.end());
  EXPECT_EQ(summary->stateSha256, hexOf(bytes));
}

TEST(ModelState, SavedWeightsStartTheNextRun) {
  const Folder folder;
  TrainOptions options = optionsFor(folder);
  options.steps = 5;
  auto first = train(options);
  ASSERT_TRUE(first);
  EvaluateOptions evaluation;
  evaluation.stage = options.stage;
  evaluation.data = "synthetic";
  evaluation.init = options.saveWeights;
  evaluation.threads = 1;
  auto score = evaluate(evaluation);
  ASSERT_TRUE(score) << score.error().text();
  EXPECT_EQ(score->weightsSha256, first->weightsSha256);
}

Tensors goodWeights() {
  Tensors weights{{"fc1.weight", {{33, 35}, {}}},
                  {"fc1.bias", {{33}, {}}},
                  {"fc2.weight", {{10, 33}, {}}},
                  {"fc2.bias", {{10}, {}}}};
  for (auto &[name, tensor] : weights) {
    std::size_t count = 1;
    for (const std::int64_t size : tensor.shape) {
      count *= static_cast<std::size_t>(size);
    }
    tensor.values.assign(count, 0.01f);
  }
  return weights;
}

TEST(ModelState, AnotherModelsWeightsAreListedAtOnce) {
  const Folder folder;
  TrainOptions options = optionsFor(folder);
  Tensors weights = goodWeights();
  weights.erase("fc1.bias");
  weights["fc3.weight"] = {{2}, {1, 2}};
  weights["fc2.weight"] = {{33, 10}, std::vector<float>(330)};
  options.init = folder.write("w.safetensors", safetensors(weights));
  auto summary = train(options);
  ASSERT_FALSE(summary);
  const std::string text = summary.error().text();
  EXPECT_EQ(summary.error().kind, ErrorKind::User);
  EXPECT_EQ(summary.error().place, options.init);
  EXPECT_NE(text.find("missing: fc1.bias"), std::string::npos) << text;
  EXPECT_NE(text.find("not in the model: fc3.weight"), std::string::npos) << text;
  EXPECT_NE(text.find("fc2.weight ([33, 10], not [10, 33])"), std::string::npos) << text;
  EXPECT_FALSE(std::filesystem::exists(options.saveWeights));

  Bytes half = safetensors(goodWeights());
  const std::string needle = "F32";
  std::search(half.begin(), half.end(), needle.begin(), needle.end())[0] =
      'I'; // the first tensor is fc1.bias
  options.init = folder.write("w.safetensors", half);
  summary = train(options);
  ASSERT_FALSE(summary);
  EXPECT_NE(summary.error().what.find("fc1.bias (I32, not F32)"), std::string::npos)
      << summary.error().text();
}

TEST(ModelState, WhereItCannotSaveItDoesNotTrain) {
  const Folder folder;
  for (const std::string &path : {folder.path("no/such/w.safetensors"), folder.path(".")}) {
    TrainOptions options = optionsFor(folder);
    options.saveWeights = path;
    bool trained = false;
    options.onStep = [&](const StepReport &) { trained = true; };
    auto summary = train(options);
    ASSERT_FALSE(summary);
    EXPECT_EQ(summary.error().kind, ErrorKind::User);
    EXPECT_EQ(summary.error().place, path);
    EXPECT_FALSE(trained);
  }
}

} // namespace
