// An engine that stays open: what its caller relies on between its calls.
#include "TestData.h"

#include "runtime/device/AllocationCounter.h"
#include "runtime/train/BatchEngine.h"
#include "stagefile/StageFile.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testdata;

namespace {

constexpr std::uint32_t kBatch = 16;

/// 48 samples in files, and the same for the batches of an engine: batch k in the stored order.
class BatchEngineTest : public testing::Test {
protected:
  BatchEngineTest() : images(randomImages(5, {3 * kBatch, 5, 7}, 10)) {
    writeImages(folder, "train", images, false);
    writeImages(folder, "t10k", images, false);
    std::string text;
    for (unsigned i = 0; i < 3 * kBatch; ++i) {
      text += std::to_string(i) + "\n";
    }
    order = folder.write("order.txt", text);
  }

  std::unique_ptr<BatchEngine> open(stagefile::Classifier classifier = {}, double watchdogSeconds = 60) {
    const std::string path = stagefile::write(folder.path("x.stage"), classifier);
    auto executable = Executable::load(path);
    EXPECT_TRUE(executable) << executable.error().text();
    EngineOptions options;
    options.threads = 2;
    options.watchdogSeconds = watchdogSeconds;
    auto engine = BatchEngine::open(std::make_shared<const Executable>(std::move(*executable)), options);
    EXPECT_TRUE(engine) << engine.error().text();
    return std::move(*engine);
  }

  void fill(BatchEngine &engine, std::uint64_t batch, std::uint64_t samples = kBatch) const {
    const std::uint64_t first = batch % 3 * kBatch, pixels = images.pixelsPerSample();
    for (std::uint64_t i = 0; i < samples * pixels; ++i) {
      const float value = images.pixels[first * pixels + i];
      std::memcpy(engine.column(0).data() + 4 * i, &value, 4);
    }
    for (std::uint64_t i = 0; i < samples; ++i) {
      const std::int32_t label = images.labels[first + i];
      std::memcpy(engine.column(1).data() + 4 * i, &label, 4);
    }
  }

  StepReport step(BatchEngine &engine) const {
    fill(engine, engine.steps());
    auto report = engine.trainBatch();
    EXPECT_TRUE(report) << report.error().text();
    return report ? *report : StepReport{};
  }

  /// What the one-shot engine makes of the same samples.
  TrainSummary trainAtOnce(const stagefile::Classifier &classifier, std::uint64_t steps) {
    TrainOptions options;
    options.stage = stagefile::write(folder.path("once.stage"), classifier);
    options.data = folder.path(".");
    options.sampleOrder = order;
    options.steps = steps;
    options.threads = 2;
    auto summary = train(options);
    EXPECT_TRUE(summary) << summary.error().text();
    return std::move(*summary);
  }

  static std::string state(BatchEngine &engine) {
    auto hashes = engine.hashes();
    return hashes ? hashes->state : hashes.error().text();
  }

  Folder folder;
  Images images;
  std::string order;
};

TEST_F(BatchEngineTest, StepsOneByOneGiveTheBitsOfOneRun) {
  for (const auto &boundaries : {std::vector<int>{0, 4}, {0, 2, 4}, {0, 1, 2, 3, 4}}) {
    stagefile::Classifier classifier;
    classifier.boundaries = boundaries;
    const TrainSummary once = trainAtOnce(classifier, 7);
    auto engine = open(classifier);
    for (std::uint64_t i = 0; i < 7; ++i) {
      const StepReport report = step(*engine);
      EXPECT_EQ(report.step, i + 1);
      EXPECT_EQ(report.loss, once.losses[i]);
      EXPECT_GT(report.gradientNorm, 0);
      EXPECT_EQ(report.learningRate, classifier.learningRate);
    }
    EXPECT_EQ(engine->hashes()->weights, once.weightsSha256);
    EXPECT_EQ(state(*engine), once.stateSha256);
  }
}

/// Of parameter servers whose updates are late: the steps are those of one run, and hashes wait for all
/// updates.
TEST_F(BatchEngineTest, LateUpdatesAreThoseOfOneRun) {
  const std::string path = folder.path("served.stage");
  const auto bytes = stagefile::serialize(stagefile::buildServed(2));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  auto executable = Executable::load(path);
  ASSERT_TRUE(executable) << executable.error().text();
  const auto batch = static_cast<std::uint64_t>(executable->file().recipe()->train_batch_size());
  auto engine = BatchEngine::open(std::make_shared<const Executable>(std::move(*executable)), {});
  ASSERT_TRUE(engine) << engine.error().text();
  std::string text;
  for (std::uint64_t i = 0; i < batch; ++i) {
    text += std::to_string(i) + "\n";
  }
  ASSERT_LE(batch, 3 * kBatch);
  TrainOptions options;
  options.stage = path;
  options.data = folder.path(".");
  options.sampleOrder = folder.write("batch.txt", text);
  options.steps = 7;
  auto once = train(options);
  ASSERT_TRUE(once) << once.error().text();
  for (std::uint64_t i = 0; i < 7; ++i) {
    fill(**engine, 0, batch);
    auto report = (*engine)->trainBatch();
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->loss, once->losses[i]);
  }
  EXPECT_EQ((*engine)->hashes()->weights, once->weightsSha256);
  EXPECT_EQ(state(**engine), once->stateSha256);
}

TEST_F(BatchEngineTest, EvaluationBetweenStepsChangesNothing) {
  auto plain = open(), mixed = open();
  for (int i = 0; i < 6; ++i) {
    step(*plain);
    fill(*mixed, i + 1);
    const auto before = mixed->evaluateBatch(i % 2 ? kBatch : 5);
    ASSERT_TRUE(before) << before.error().text();
    const StepReport report = step(*mixed);
    const auto after = mixed->evaluateBatch(kBatch);
    ASSERT_TRUE(after);
    EXPECT_LT(after->loss, report.loss); // on the samples that it has just learnt from
    ASSERT_TRUE(after->accuracy);
  }
  EXPECT_EQ(state(*plain), state(*mixed));
}

TEST_F(BatchEngineTest, EvaluatesLikeTheOneShotEngine) {
  EvaluateOptions options;
  options.stage = stagefile::write(folder.path("y.stage"), {});
  options.data = folder.path(".");
  options.threads = 2;
  auto expected = evaluate(options);
  ASSERT_TRUE(expected) << expected.error().text();
  auto engine = open();
  double right = 0;
  std::optional<BatchEngine::BatchEvaluation> all;
  for (int batch = 0; batch < 3; ++batch) {
    fill(*engine, batch);
    // A short batch must not see the rows behind it: they are other samples here.
    const auto whole = engine->evaluateBatch(kBatch), part = engine->evaluateBatch(5);
    ASSERT_TRUE(whole && part);
    EXPECT_EQ(part->samples, 5u);
    EXPECT_NE(part->loss, whole->loss);
    right += *whole->accuracy * kBatch;
  }
  for (int batch = 0; batch < 3; ++batch) {
    fill(*engine, batch);
    auto sum = engine->evaluateBatch(kBatch, batch > 0);
    ASSERT_TRUE(sum);
    all = *sum;
  }
  EXPECT_EQ(all->samples, 3 * kBatch);
  EXPECT_EQ(all->loss, expected->loss);
  EXPECT_EQ(all->accuracy, expected->accuracy);
  EXPECT_EQ(right / (3 * kBatch), *expected->accuracy);
}

TEST_F(BatchEngineTest, TwoEnginesAliveAtOnceDoNotMeet) {
  stagefile::Classifier other;
  other.boundaries = {0, 1, 3, 4};
  other.optimizer = "sgd";
  const std::string first = trainAtOnce({}, 5).stateSha256, second = trainAtOnce(other, 5).stateSha256;
  for (int again = 0; again < 2; ++again) { // made, destroyed and made again
    auto a = open(), b = open(other);
    for (int i = 0; i < 5; ++i) {
      step(*a);
      step(*b);
    }
    EXPECT_EQ(state(*a), first);
    EXPECT_EQ(state(*b), second);
  }
}

std::size_t threadsOfProcess() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto &entry : std::filesystem::directory_iterator("/proc/self/task")) {
    ++count;
  }
  return count;
}

TEST_F(BatchEngineTest, SteadyStepsAllocateNothingAndStartNoThread) {
  auto engine = open();
  for (int i = 0; i < 2; ++i) {
    step(*engine);
    ASSERT_TRUE(engine->evaluateBatch(3));
  }
  const std::size_t threads = threadsOfProcess();
  const std::uint64_t before = allocationCount();
  bool ok = true;
  for (int i = 0; i < 20; ++i) {
    ok = ok && engine->trainBatch() && engine->evaluateBatch(kBatch);
  }
  EXPECT_EQ(allocationCount() - before, 0u);
  EXPECT_TRUE(ok);
  EXPECT_EQ(threadsOfProcess(), threads);
  engine.reset();
  EXPECT_LT(threadsOfProcess(), threads);
}

TEST_F(BatchEngineTest, AWrongLabelIsAnErrorThatChangesNothing) {
  auto engine = open(), untouched = open();
  step(*engine);
  step(*untouched);
  const std::string before = state(*engine);
  fill(*engine, 1);
  const std::int32_t label = 10;
  std::memcpy(engine->column(1).data() + 4 * 3, &label, 4);
  const auto refused = engine->trainBatch();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::User);
  EXPECT_EQ(refused.error().place, "the batch of input \"label\" at sample 3");
  EXPECT_NE(refused.error().what.find("label 10 is not a class"), std::string::npos);
  EXPECT_FALSE(engine->evaluateBatch(4));
  EXPECT_TRUE(engine->evaluateBatch(3)); // which does not read that row
  EXPECT_EQ(engine->steps(), 1u);
  EXPECT_EQ(state(*engine), before);
  step(*engine);
  step(*untouched);
  EXPECT_EQ(state(*engine), state(*untouched));
  for (const std::uint64_t samples : {0u, kBatch + 1}) {
    EXPECT_FALSE(engine->evaluateBatch(samples));
  }
}

TEST_F(BatchEngineTest, WeightsTravelThroughFiles) {
  auto engine = open(), other = open();
  step(*engine);
  step(*engine);
  ASSERT_TRUE(engine->saveWeights(folder.path("w.safetensors")));
  ASSERT_TRUE(other->loadWeights(folder.path("w.safetensors")));
  EXPECT_EQ(engine->hashes()->weights, other->hashes()->weights);
  fill(*engine, 2);
  fill(*other, 2);
  EXPECT_EQ(engine->evaluateBatch(kBatch)->loss, other->evaluateBatch(kBatch)->loss);
  EXPECT_FALSE(engine->saveWeights("/no/where"));
  const auto missing = other->loadWeights("/nowhere");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().place, "/nowhere");
  EXPECT_EQ(engine->hashes()->weights, other->hashes()->weights);
}

TEST_F(BatchEngineTest, ALossThatIsNotFiniteIsAnError) {
  stagefile::Classifier classifier;
  classifier.optimizer = "sgd";
  classifier.gradientClipping = 0;
  classifier.learningRate = 1e30;
  auto engine = open(classifier);
  ASSERT_TRUE(engine->saveWeights(folder.path("w.safetensors")));
  std::optional<Error> error;
  for (int i = 0; i < 6 && !error; ++i) {
    fill(*engine, i);
    auto report = engine->trainBatch();
    error = report ? error : report.error();
  }
  ASSERT_TRUE(error);
  EXPECT_NE(error->what.find("the loss is"), std::string::npos) << error->text();
  EXPECT_FALSE(engine->saveWeights(folder.path("bad.safetensors")));
  EXPECT_FALSE(std::filesystem::exists(folder.path("bad.safetensors")));
  ASSERT_TRUE(engine->loadWeights(folder.path("w.safetensors"))); // and it can be evaluated
  fill(*engine, 0);
  EXPECT_TRUE(engine->evaluateBatch(kBatch));
}

TEST_F(BatchEngineTest, NothingIsWatchedBetweenCalls) {
  auto engine = open({}, 0.05);
  for (int i = 0; i < 3; ++i) {
    step(*engine);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_EQ(engine->steps(), 3u);
}

TEST_F(BatchEngineTest, AnInterruptEndsTheEngine) {
  InterruptFlag flag;
  auto executable = Executable::load(stagefile::write(folder.path("i.stage"), {}));
  EngineOptions options;
  options.interrupt = &flag;
  auto engine = BatchEngine::open(std::make_shared<const Executable>(std::move(*executable)), options);
  ASSERT_TRUE(engine);
  step(**engine);
  flag.raise();
  for (int i = 0; i < 2; ++i) {
    const auto stopped = (*engine)->trainBatch();
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().kind, ErrorKind::Interrupted);
  }
  EXPECT_EQ((*engine)->steps(), 1u);
  // Ranks may have ended between the updates of one step: nothing is taken from them.
  const std::string path = folder.path("ended.safetensors");
  const auto saved = (*engine)->saveWeights(path);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().kind, ErrorKind::Interrupted);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE((*engine)->hashes());
  EXPECT_FALSE((*engine)->loadWeights(path));
}

} // namespace
