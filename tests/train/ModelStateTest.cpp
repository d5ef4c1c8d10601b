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

const Bytes kThreeSteps{3, 0, 0, 0, 0, 0, 0, 0};

Tensors weightsAfter(const TrainOptions &options, const stagefile::Classifier &classifier,
                     TrainSummary &summary) {
  stagefile::write(options.stage, classifier);
  auto trained = train(options);
  EXPECT_TRUE(trained) << trained.error().text();
  summary = trained ? *trained : TrainSummary();
  return parseSafetensors(readAll(options.saveWeights));
}

TEST(ModelState, HashesAreOverTheStatedBytes) {
  // With plain SGD there is no state: the state's hash is over the weights and the number of steps.
  const Folder folder;
  TrainOptions options = optionsFor(folder);
  stagefile::Classifier classifier;
  classifier.optimizer = "sgd";
  options.steps = 3;
  TrainSummary summary;
  Bytes bytes;
  for (const auto &[name, tensor] : weightsAfter(options, classifier, summary)) {
    append(bytes, tensor.values);
  }
  EXPECT_EQ(summary.weightsSha256, hexOf(bytes));
  bytes.insert(bytes.end(), kThreeSteps.begin(), kThreeSteps.end());
  EXPECT_EQ(summary.stateSha256, hexOf(bytes));
}

// Every step sees the same batch, and with learning rate 0 the same weights w: each of them adds the same
// gradient g to the momentum buffer. One step with learning rate 2^100, which is exact, tells g: beside
// 2^100 g the weight itself is rounded away, unless g is 0.
TEST(ModelState, TheStatesHashIsOverWeightsAndMomentum) {
  const Folder folder;
  TrainOptions options = optionsFor(folder);
  std::string order;
  for (int sample = 0; sample < 16; ++sample) {
    order += std::to_string(7 * sample) + "\n";
  }
  options.sampleOrder = folder.write("order.txt", order);
  stagefile::Classifier classifier;
  classifier.optimizer = "sgd";
  classifier.gradientClipping = 0;
  TrainSummary summary;
  classifier.learningRate = 0x1p100;
  Tensors gradients = weightsAfter(options, classifier, summary);
  classifier.learningRate = 0;
  const Tensors weights = weightsAfter(options, classifier, summary);
  std::size_t notZero = 0, all = 0;
  for (auto &[name, tensor] : gradients) {
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      float &value = tensor.values[i];
      value = value == weights.at(name).values[i] ? 0 : value * -0x1p-100f;
      notZero += value != 0;
      ++all;
    }
  }
  EXPECT_GT(notZero, all / 2);

  classifier.momentum = 0.5;
  options.steps = 3;
  for (const auto &boundaries : {std::vector<int>{0, 4}, {0, 2, 4}}) {
    classifier.boundaries = boundaries;
    EXPECT_EQ(weightsAfter(options, classifier, summary).at("fc1.bias").values,
              weights.at("fc1.bias").values);
    Bytes bytes;
    for (const auto &[name, tensor] : weights) {
      append(bytes, tensor.values);
      std::vector<float> buffer = gradients.at(name).values;
      for (float &value : buffer) {
        const float gradient = value;
        value = 0.5f * value + gradient;
        value = 0.5f * value + gradient;
      }
      append(bytes, buffer);
    }
    bytes.insert(bytes.end(), kThreeSteps.begin(), kThreeSteps.end());
    EXPECT_EQ(summary.stateSha256, hexOf(bytes));
  }
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

TEST(ModelState, ValuesThatAreNotFiniteAreNotSaved) {
  // The loss of the last step is finite; what the step makes of the model is not.
  struct Case {
    const char *optimizer;
    double learningRate;
    float weight; ///< of fc2
    const char *says;
  };
  for (const Case &one : {Case{"sgd", 1e39, 0.01f, "parameter \"fc"},
                          Case{"adam", 1e-3, 1e25f, "the state \"exp_avg_sq\" of"}}) {
    const Folder folder;
    TrainOptions options = optionsFor(folder);
    stagefile::Classifier classifier;
    classifier.optimizer = one.optimizer;
    classifier.learningRate = one.learningRate;
    classifier.gradientClipping = 0;
    stagefile::write(options.stage, classifier);
    Tensors weights = goodWeights();
    for (std::size_t i = 0; i < weights["fc2.weight"].values.size(); ++i) {
      weights["fc2.weight"].values[i] = i % 3 ? one.weight : -one.weight;
    }
    options.init = folder.write("init.safetensors", safetensors(weights));
    double loss = NAN;
    options.onStep = [&](const StepReport &report) { loss = report.loss; };
    auto summary = train(options);
    EXPECT_TRUE(std::isfinite(loss));
    ASSERT_FALSE(summary) << one.optimizer;
    EXPECT_EQ(summary.error().kind, ErrorKind::User);
    EXPECT_EQ(summary.error().place, "step 1");
    EXPECT_NE(summary.error().what.find(one.says), std::string::npos) << summary.error().text();
    EXPECT_FALSE(std::filesystem::exists(options.saveWeights));
  }
}

TEST(ModelState, AnInterruptBehindTheLastStepLeavesNoFile) {
  const Folder folder;
  TrainOptions options = optionsFor(folder);
  const std::vector<std::string> before = folder.files();
  InterruptFlag flag;
  options.interrupt = &flag;
  options.onStep = [&](const StepReport &) { flag.raise(); };
  auto summary = train(options);
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().kind, ErrorKind::Interrupted) << summary.error().text();
  EXPECT_EQ(folder.files(), before);
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
  EXPECT_NE(text.find("not in the model: fc3.weight (nearest: fc1.weight)"), std::string::npos) << text;
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
