// Runs through the engine's face: against a plain fp64 model, and what a run reports.
#include "PlainClassifier.h"
#include "TestData.h"

#include "runtime/device/AllocationCounter.h"
#include "runtime/executable/Executable.h"
#include "runtime/train/Engine.h"
#include "stagefile/StageFile.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testdata;

namespace {

constexpr double kScale = 1.0 / 255, kMean = 0.4, kDeviation = 0.3;

/// A classifier, 50 random images and a stored order of samples, as files and as plain numbers.
class World {
public:
  explicit World(stagefile::Classifier options) : classifier(std::move(options)) {
    classifier.scale = kScale;
    classifier.mean = kMean;
    classifier.deviation = kDeviation;
    const Images train = randomImages(5, {50, 5, 7}, 10), test = randomImages(6, {37, 5, 7}, 10);
    writeImages(folder, "train", train, true);
    writeImages(folder, "t10k", test, false);
    convert(train, trainImages, trainLabels);
    convert(test, testImages, testLabels);
    std::string text;
    for (int i = 0; i < 64; ++i) {
      order.push_back((i * 23 + i / 7) % 50);
      text += std::to_string(order.back()) + "\n";
    }
    Tensors weights;
    std::map<std::string, PlainClassifier::Row> plainWeights;
    for (const auto &[name, shape] : std::map<std::string, std::vector<std::int64_t>>{
             {"fc1.weight", {33, 35}}, {"fc1.bias", {33}}, {"fc2.weight", {10, 33}}, {"fc2.bias", {10}}}) {
      Tensor tensor{shape, {}};
      for (std::int64_t i = 0; i < shape[0] * (shape.size() > 1 ? shape[1] : 1); ++i) {
        tensor.values.push_back(
            static_cast<float>(0.2 * std::sin(1.7 * static_cast<double>(i) + name.size())));
      }
      plainWeights[name].assign(tensor.values.begin(), tensor.values.end());
      weights[name] = std::move(tensor);
    }
    plain.emplace(35, 33, 10, std::move(plainWeights));
    init = folder.write("init.safetensors", safetensors(weights));
    orderFile = folder.write("order.txt", text);
    stage = stagefile::write(folder.path("x.stage"), classifier);
  }

  TrainOptions trainOptions(std::uint64_t steps) const {
    TrainOptions options;
    options.stage = stage;
    options.data = folder.path(".");
    options.init = init;
    options.sampleOrder = orderFile;
    options.steps = steps;
    options.threads = 2;
    options.saveWeights = folder.path("out.safetensors");
    return options;
  }

  /// Loss of the plain model on the batch of a step (from 0), and its update.
  double plainStep(std::uint64_t step, const PlainClassifier::Optimizer &optimizer) {
    const int batch = classifier.microBatchSize * classifier.microBatches;
    std::vector<PlainClassifier::Row> images;
    std::vector<int> labels;
    for (int i = 0; i < batch; ++i) {
      const int sample = order[step % (64 / static_cast<unsigned>(batch)) * static_cast<unsigned>(batch) + i];
      images.push_back(trainImages[sample]);
      labels.push_back(trainLabels[sample]);
    }
    return plain->train(images, labels, optimizer);
  }

  Folder folder;
  stagefile::Classifier classifier;
  std::string stage, init, orderFile;
  std::vector<int> order;
  std::optional<PlainClassifier> plain;
  std::vector<PlainClassifier::Row> trainImages, testImages;
  std::vector<int> trainLabels, testLabels;

private:
  static void convert(const Images &from, std::vector<PlainClassifier::Row> &images,
                      std::vector<int> &labels) {
    for (std::size_t i = 0; i < from.samples(); ++i) {
      PlainClassifier::Row row;
      for (std::size_t k = 0; k < from.pixelsPerSample(); ++k) {
        row.push_back((from.pixels[i * from.pixelsPerSample() + k] * kScale - kMean) / kDeviation);
      }
      images.push_back(row);
      labels.push_back(from.labels[i]);
    }
  }
};

struct Case {
  const char *name;
  const char *optimizer;
  double learningRate, momentum, clipping;
  std::vector<int> boundaries;
  const char *schedule;
  double tolerance;
};

class AgainstPlainModel : public testing::TestWithParam<Case> {};

TEST_P(AgainstPlainModel, LossesNormsAndWeightsAgree) {
  const Case &c = GetParam();
  stagefile::Classifier classifier;
  classifier.optimizer = c.optimizer;
  classifier.learningRate = c.learningRate;
  classifier.momentum = c.momentum;
  classifier.gradientClipping = c.clipping;
  classifier.boundaries = c.boundaries;
  classifier.schedule = c.schedule;
  World world(classifier);
  const PlainClassifier::Optimizer optimizer{c.optimizer != std::string("sgd"), c.learningRate, c.momentum,
                                             c.clipping};
  std::vector<double> norms;
  TrainOptions options = world.trainOptions(40);
  options.onStep = [&](const StepReport &report) {
    norms.push_back(report.gradientNorm);
    EXPECT_EQ(report.learningRate, c.learningRate);
    EXPECT_EQ(report.steps, 40u);
    EXPECT_EQ(report.step, norms.size());
  };
  auto summary = train(options);
  ASSERT_TRUE(summary) << summary.error().text();
  ASSERT_EQ(summary->losses.size(), 40u);
  for (std::uint64_t step = 0; step < 40; ++step) {
    const double expected = world.plainStep(step, optimizer);
    EXPECT_NEAR(summary->losses[step] / expected, 1, c.tolerance) << step;
    if (c.clipping > 0) {
      EXPECT_NEAR(norms[step] / world.plain->lastNorm, 1, 20 * c.tolerance) << step;
    }
  }
  EXPECT_EQ(summary->loss, summary->losses.back());
  EXPECT_LT(summary->losses.back(), 0.9 * summary->losses.front());
  for (const auto &[name, tensor] : parseSafetensors(readAll(options.saveWeights))) {
    const PlainClassifier::Row &expected = world.plain->parameters().at(name);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(tensor.values[i], expected[i], 200 * c.tolerance) << name << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Optimizers, AgainstPlainModel,
    testing::Values(Case{"Sgd", "sgd", 0.1, 0, 0, {0, 4}, "1f1b", 2e-6},
                    Case{"SgdMomentumClipped", "sgd", 0.1, 0.9, 0.5, {0, 2, 4}, "1f1b", 2e-6},
                    Case{"SgdClippedThreeStages", "sgd", 0.2, 0, 0.3, {0, 2, 3, 4}, "zb-h1", 2e-6},
                    Case{"Adam", "adam", 0.003, 0, 0, {0, 1, 2, 3, 4}, "gpipe", 2e-5},
                    Case{"AdamClipped", "adam", 0.003, 0, 0.5, {0, 3, 4}, "zb-h1", 2e-5}),
    [](const testing::TestParamInfo<Case> &info) { return std::string(info.param.name); });

TEST(Engine, EvaluatesEverySampleOnce) {
  for (const auto &boundaries : {std::vector<int>{0, 4}, {0, 2, 4}, {0, 1, 2, 3, 4}}) {
    stagefile::Classifier classifier;
    classifier.boundaries = boundaries;
    World world(classifier);
    EvaluateOptions options;
    options.stage = world.stage;
    options.data = world.folder.path(".");
    options.init = world.init;
    options.threads = 2;
    std::vector<std::uint64_t> done;
    options.onSamples = [&](std::uint64_t now, std::uint64_t all) {
      EXPECT_EQ(all, 37u);
      done.push_back(now);
    };
    auto summary = evaluate(options);
    ASSERT_TRUE(summary) << summary.error().text();
    const auto expected = world.plain->evaluate(world.testImages, world.testLabels);
    EXPECT_EQ(summary->samples, 37u); // two batches of 16 and one of 5
    EXPECT_NEAR(summary->loss.value() / expected.loss, 1, 1e-6);
    ASSERT_TRUE(summary->accuracy);
    EXPECT_EQ(*summary->accuracy, expected.correct / 37.0);
    EXPECT_EQ(done, (std::vector<std::uint64_t>{16, 32, 37}));
    options.trainingData = true;
    options.onSamples = nullptr;
    summary = evaluate(options);
    ASSERT_TRUE(summary);
    const auto onTraining = world.plain->evaluate(world.trainImages, world.trainLabels);
    EXPECT_EQ(summary->samples, 50u);
    EXPECT_NEAR(summary->loss.value() / onTraining.loss, 1, 1e-6);
  }
}

TEST(Engine, ReportsMemoryAndAllocations) {
  stagefile::Classifier classifier;
  World world(classifier);
  TrainOptions options = world.trainOptions(50);
  options.allocationCount = allocationCount;
  auto summary = train(options);
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->plannedBytes, summary->allocatedBytes);
  auto executable = Executable::load(world.stage);
  ASSERT_TRUE(executable);
  EXPECT_EQ(summary->plannedBytes, executable->plannedBytes(0) + executable->plannedBytes(1));
  EXPECT_EQ(summary->allocationsAfterWarmup, 0u);
  EXPECT_GT(summary->samplesPerSecond, 0);
  // The counter counts: a callback that allocates is seen.
  std::vector<std::unique_ptr<int>> kept;
  options.onStep = [&](const StepReport &) { kept.push_back(std::make_unique<int>(1)); };
  summary = train(options);
  ASSERT_TRUE(summary);
  EXPECT_GE(*summary->allocationsAfterWarmup, 40u);
  options.allocationCount = nullptr;
  summary = train(options);
  ASSERT_TRUE(summary);
  EXPECT_FALSE(summary->allocationsAfterWarmup);
}

TEST(Engine, PrintsDeepSpeedsLine) {
  stagefile::Classifier classifier;
  classifier.stepsPerPrint = 4;
  World world(classifier);
  TrainOptions options = world.trainOptions(10);
  std::vector<std::string> lines;
  std::vector<double> losses;
  options.onStep = [&](const StepReport &report) {
    losses.push_back(report.loss);
    if (report.line) {
      lines.push_back(report.line);
    }
  };
  auto summary = train(options);
  ASSERT_TRUE(summary);
  EXPECT_EQ(losses, summary->losses);
  ASSERT_EQ(lines.size(), 2u);
  for (int i = 0; i < 2; ++i) {
    unsigned steps = 0;
    double loss = 0, time = 0, speed = 0, rate = 0;
    ASSERT_EQ(std::sscanf(lines[i].c_str(), "steps: %u loss: %lf iter time (s): %lf samples/sec: %lf lr: %lf",
                          &steps, &loss, &time, &speed, &rate),
              5)
        << lines[i];
    EXPECT_EQ(steps, 4u * (i + 1));
    EXPECT_NEAR(loss, losses[steps - 1], 6e-5);
    EXPECT_GT(speed, 0);
    EXPECT_EQ(rate, 0.01);
  }
}

TEST(Engine, CountsEpochs) {
  World world({});
  TrainOptions options = world.trainOptions(1);
  options.steps.reset();
  options.sampleOrder.clear();
  auto one = train(options);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->steps, 3u); // 50 samples, batches of 16
  options.epochs = 4;
  auto four = train(options);
  ASSERT_TRUE(four);
  EXPECT_EQ(four->steps, 12u);
  options.steps = 2;
  EXPECT_FALSE(train(options));
  options.epochs.reset();
  options.steps = 0;
  EXPECT_FALSE(train(options));
}

TEST(Engine, StopsWhenTheLossIsNotFinite) {
  for (const auto &boundaries : {std::vector<int>{0, 4}, {0, 2, 3, 4}}) {
    stagefile::Classifier classifier;
    classifier.boundaries = boundaries;
    classifier.optimizer = "sgd";
    classifier.gradientClipping = 0;
    classifier.learningRate = 1e30;
    World world(classifier);
    TrainOptions options = world.trainOptions(20);
    std::uint64_t last = 0;
    options.onStep = [&](const StepReport &report) { last = report.step; };
    auto summary = train(options);
    ASSERT_FALSE(summary);
    const Error &error = summary.error();
    EXPECT_EQ(error.kind, ErrorKind::User);
    EXPECT_EQ(error.place, "step " + std::to_string(last));
    EXPECT_LT(last, 6u);
    EXPECT_NE(error.what.find("computed on rank " + std::to_string(boundaries.size() - 2)), std::string::npos)
        << error.text();
    EXPECT_FALSE(std::filesystem::exists(options.saveWeights));
  }
}

TEST(Engine, RefusesMistakesBeforeItTrains) {
  World world({});
  const auto refused = [&](const std::function<void(TrainOptions &)> &change) {
    TrainOptions options = world.trainOptions(2);
    change(options);
    auto summary = train(options);
    EXPECT_FALSE(summary);
    EXPECT_FALSE(std::filesystem::exists(options.saveWeights));
    return summary ? Error{} : summary.error();
  };
  EXPECT_EQ(refused([](TrainOptions &o) { o.stage = "/nowhere.stage"; }).place, "/nowhere.stage");
  EXPECT_EQ(refused([](TrainOptions &o) { o.data = "/nowhere"; }).place, "/nowhere");
  EXPECT_EQ(refused([](TrainOptions &o) { o.init = "/nowhere"; }).place, "/nowhere");
  EXPECT_EQ(refused([](TrainOptions &o) { o.sampleOrder = "/nowhere"; }).place, "/nowhere");
  EXPECT_EQ(refused([](TrainOptions &o) { o.trace = "/no/where"; }).place, "/no/where");
  EXPECT_EQ(refused([](TrainOptions &o) { o.threads = -1; }).kind, ErrorKind::User);
}

} // namespace
