// The public library: a model built in C++ is compiled, trained and evaluated; mistakes are values.
#include <stagewright/stagewright.h>

#include "runtime/device/AllocationCounter.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <stdexcept>
#include <thread>

namespace sw = stagewright;

namespace {

class Folder {
public:
  Folder() {
    char name[] = "/tmp/stagewright-api-XXXXXX";
    root = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(root); }
  std::string path(const std::string &name) const { return (root / name).string(); }

private:
  std::filesystem::path root;
};

sw::Model mlp() {
  sw::Model model("mlp");
  model.inputs = {sw::feature("image", {2, 3}), sw::label("digit")};
  model.layers = {{"Flatten", "flatten"},
                  {"Linear", "fc1", {{"in_features", 6}, {"out_features", 16}}},
                  {"ReLU", "relu"},
                  {"Linear", "fc2", {{"in_features", 16}, {"out_features", 4}}}};
  model.losses = {{"CrossEntropyLoss"}};
  model.accuracy = true;
  return model;
}

const char *const kConfig = R"({
  "train_batch_size": 8, "train_micro_batch_size_per_gpu": 2,
  "optimizer": {"type": "SGD", "params": {"lr": 0.1}}
})";

sw::CompileOptions stages(int count) {
  sw::CompileOptions options;
  options.stages = count;
  return options;
}

sw::Error errorOf(const sw::Model &model, const std::string &config = kConfig) {
  auto compiled = sw::compile(model, sw::Config::json(config));
  EXPECT_FALSE(compiled);
  return compiled ? sw::Error{} : compiled.error();
}

#ifdef STAGEWRIGHT_COMPILER

/// 27 samples, a class each that is a function of the image; notes what it was asked for.
class Recorder : public sw::DataSource {
public:
  std::uint64_t samples() const override { return end; }
  sw::Result<void> fill(std::span<const std::uint64_t> samples,
                        std::span<const sw::Column> columns) override {
    asked.assign(samples.begin(), samples.end());
    if (throws) {
      throw std::runtime_error("of the source");
    }
    if (fails) {
      return *fails;
    }
    for (std::size_t row = 0; row < samples.size(); ++row) {
      for (std::size_t i = 0; i < 6; ++i) {
        columns[0].f32()[row * 6 + i] = pixel(samples[row], i);
      }
      columns[1].i32()[row] = label ? *label : classOf(samples[row]);
    }
    return {};
  }
  static float pixel(std::uint64_t sample, std::size_t i) {
    return static_cast<float>(std::sin(static_cast<double>(sample) * 1.3 + static_cast<double>(i)));
  }
  static std::int32_t classOf(std::uint64_t sample) { return static_cast<std::int32_t>(sample % 4); }

  std::uint64_t end = 27;
  std::vector<std::uint64_t> asked;
  std::optional<sw::Error> fails;
  bool throws = false;
  std::optional<std::int32_t> label;
};

sw::StagedExecutable compiled(int count) {
  auto executable = sw::compile(mlp(), sw::Config::json(kConfig), stages(count));
  EXPECT_TRUE(executable) << executable.error().text();
  return *executable;
}

sw::Engine engineOf(const sw::StagedExecutable &executable) {
  sw::EngineOptions options;
  options.threads = 2;
  auto engine = sw::Engine::create(executable, options);
  EXPECT_TRUE(engine) << engine.error().text();
  return std::move(*engine);
}

std::string weightsOf(sw::Engine &engine) {
  auto hash = engine.weightsSha256();
  return hash ? *hash : hash.error().text();
}

TEST(Compile, SaysWhatItMade) {
  const sw::StagedExecutable executable = compiled(2);
  EXPECT_EQ(executable.modelName(), "mlp");
  EXPECT_EQ(executable.stages(), 2);
  EXPECT_EQ(executable.ranks(), 2);
  EXPECT_EQ(executable.trainBatchSize(), 8);
  EXPECT_EQ(executable.microBatchSize(), 2);
  EXPECT_EQ(executable.microBatches(), 4);
  EXPECT_GT(executable.plannedBytes(), 0u);
  ASSERT_EQ(executable.inputs().size(), 2u);
  EXPECT_EQ(executable.inputs()[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(executable.inputs()[0].elements, 6u);
  EXPECT_TRUE(executable.inputs()[1].isLabel);
  EXPECT_EQ(executable.inputs()[1].dtype, sw::DType::I32);
  ASSERT_EQ(executable.parameters().size(), 4u);
  EXPECT_EQ(executable.parameters()[2].name, "fc2.weight");
  EXPECT_EQ(executable.parameters()[2].shape, (std::vector<std::int64_t>{4, 16}));
  EXPECT_TRUE(executable.settingsWithoutEffect().empty());
}

TEST(Compile, FilesAndProgramsGiveTheSameBytes) {
  Folder folder;
  const auto text = mlp().json();
  ASSERT_TRUE(text);
  std::ofstream(folder.path("model.json")) << *text;
  std::ofstream(folder.path("config.json")) << kConfig;
  auto fromFiles = sw::compile(sw::ModelFile{folder.path("model.json")},
                               sw::Config::file(folder.path("config.json")), stages(2));
  ASSERT_TRUE(fromFiles) << fromFiles.error().text();
  const sw::StagedExecutable direct = compiled(2);
  EXPECT_TRUE(std::ranges::equal(fromFiles->bytes(), direct.bytes()));
  ASSERT_TRUE(direct.save(folder.path("x.stage")));
  auto loaded = sw::StagedExecutable::load(folder.path("x.stage"));
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(std::ranges::equal(loaded->bytes(), direct.bytes()));
  EXPECT_FALSE(direct.save("/no/where"));
  EXPECT_FALSE(sw::StagedExecutable::load("/nowhere"));
}

TEST(Compile, EveryKindOfEntryCrosses) {
  sw::Model model("graph");
  model.inputs = {sw::feature("x", {8}), sw::target("y", {8})};
  model.inputs[0].scale = 0.5;
  model.inputs[0].mean = 0.25;
  sw::LayerSpec frozen("Linear", "frozen", {{"in_features", 8}, {"out_features", 8}, {"bias", false}});
  frozen.trainable = false;
  model.layers = {
      frozen, sw::TiedLayerSpec("mix", "Linear", "a", {{"in_features", 8}, {"out_features", 8}}),
      sw::TiedLayerSpec("mix", "Linear", "b", {{"in_features", 8}, {"out_features", 8}}),
      sw::LayerSpec::sequential("block",
                                {{"LayerNorm", "norm", {{"normalized_shape", {8}}, {"eps", 1e-3}}},
                                 {"Dropout", "drop", {{"p", 0.25}}}},
                                2),
      sw::LayerSpec("Add", "sum").reads({"block.1", "frozen"})};
  model.losses = {{"MSELoss", "", {{"reduction", "mean"}}}};
  auto executable = sw::compile(model, sw::Config::json(kConfig));
  ASSERT_TRUE(executable) << executable.error().text();
  std::vector<std::string> names;
  for (const sw::ParameterInfo &parameter : executable->parameters()) {
    names.push_back(parameter.name);
  }
  const auto has = [&](const char *name) { return std::ranges::count(names, name) == 1; };
  EXPECT_TRUE(has("frozen.weight") && has("a.weight") && has("block.0.norm.weight") &&
              has("block.1.norm.bias"));
  EXPECT_FALSE(has("b.weight")); // it is a's
  EXPECT_TRUE(has("b.bias"));
}

TEST(Compile, ErrorsNameTheEntry) {
  sw::Model model = mlp();
  model.layers[3].arguments[0].second = 17; // in_features
  EXPECT_EQ(errorOf(model).kind, sw::ErrorKind::User);
  EXPECT_EQ(errorOf(model).place, "layer \"fc2\"");
  EXPECT_FALSE(errorOf(model).advice.empty());
  model = mlp();
  model.layers[2].type = "Relu";
  EXPECT_EQ(errorOf(model).place, "layer \"relu\"");
  model = mlp();
  model.layers[1].arguments.push_back({"in_features", 3});
  EXPECT_EQ(errorOf(model).place, "layer \"fc1\""); // twice
  model = mlp();
  model.inputs[0].shape = {0};
  EXPECT_EQ(errorOf(model).place, "input \"image\"");
  model = mlp();
  model.losses = {{"CrossEntropy"}};
  EXPECT_EQ(errorOf(model).place, "loss");
  model = mlp();
  model.layers[2] = sw::LayerSpec::sequential("block", {{"Linear", "inner", {{"in_features", 9}}}});
  EXPECT_EQ(errorOf(model).place, "layer \"block/inner\"");
  model = mlp();
  model.name = "\xff";
  EXPECT_EQ(errorOf(model).place, "model");
  model = mlp();
  model.layers.clear();
  EXPECT_EQ(errorOf(model).place, "model");
  EXPECT_EQ(errorOf(mlp(), "{\n  \"train_batch_sise\": 8\n}").place, "config:2:3");
  EXPECT_EQ(sw::compile(mlp(), sw::Config::file("/nowhere")).error().place, "/nowhere");
  EXPECT_EQ(sw::compile(sw::ModelFile{"/nowhere"}, sw::Config::json(kConfig)).error().place, "/nowhere");
  EXPECT_EQ(sw::compile(mlp(), sw::Config::json(kConfig), stages(99)).error().kind, sw::ErrorKind::User);
}

TEST(Engine, AsksForTheSamplesOfTheDataContract) {
  sw::Engine engine = engineOf(compiled(2));
  Recorder source;
  std::vector<std::uint64_t> epoch;
  for (int step = 0; step < 3; ++step) { // 27 samples are three batches of 8
    auto report = engine.trainBatch(source);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->step, static_cast<std::uint64_t>(step) + 1);
    EXPECT_EQ(report->learningRate, 0.1);
    EXPECT_GT(report->gradientNorm, 0);
    ASSERT_EQ(source.asked.size(), 8u);
    epoch.insert(epoch.end(), source.asked.begin(), source.asked.end());
  }
  EXPECT_FALSE(std::ranges::is_sorted(epoch)); // shuffled
  std::ranges::sort(epoch);
  EXPECT_EQ(std::ranges::adjacent_find(epoch), epoch.end()); // each once
  source.end = sw::DataSource::kEndless;
  ASSERT_TRUE(engine.trainBatch(source));
  EXPECT_EQ(source.asked, (std::vector<std::uint64_t>{24, 25, 26, 27, 28, 29, 30, 31}));
  EXPECT_EQ(engine.steps(), 4u);
}

TEST(Engine, EvaluatesBatchesAndAll) {
  sw::Engine engine = engineOf(compiled(2));
  Recorder source;
  const std::string before = weightsOf(engine);
  double loss = 0, right = 0;
  for (std::uint64_t first = 0; first < 27; first += 8) {
    auto report = engine.evalBatch(source, first);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->samples, std::min<std::uint64_t>(8, 27 - first));
    EXPECT_EQ(source.asked.front(), first);
    EXPECT_EQ(source.asked.size(), report->samples);
    loss += report->loss * static_cast<double>(report->samples);
    right += *report->accuracy * static_cast<double>(report->samples);
  }
  auto all = engine.evaluate(source);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->samples, 27u);
  EXPECT_NEAR(all->loss, loss / 27, 1e-12);
  EXPECT_NEAR(*all->accuracy, right / 27, 1e-12);
  EXPECT_FALSE(engine.evalBatch(source, 27));
  source.end = sw::DataSource::kEndless;
  EXPECT_FALSE(engine.evaluate(source));
  EXPECT_TRUE(engine.evalBatch(source, 1000));
  EXPECT_EQ(weightsOf(engine), before);
}

/// Two replicas with two micro-batches each, and one with four: the same steps to a rounding, the same
/// evaluation.
TEST(Engine, Replicas) {
  auto one = sw::compile(mlp(), sw::Config::json(kConfig), stages(2));
  sw::CompileOptions replicas = stages(2);
  replicas.dataParallel = 2;
  auto two = sw::compile(mlp(), sw::Config::json(kConfig), replicas);
  ASSERT_TRUE(one && two);
  EXPECT_EQ(two->ranks(), 4);
  EXPECT_EQ(two->microBatches(), 2);
  EXPECT_EQ(two->trainBatchSize(), 8);
  EXPECT_EQ(two->plannedBytes() % 2, 0u);
  sw::Engine first = engineOf(*one), second = engineOf(*two);
  Recorder source;
  for (int step = 0; step < 5; ++step) {
    auto a = first.trainBatch(source), b = second.trainBatch(source);
    ASSERT_TRUE(a && b);
    EXPECT_NEAR(a->loss, b->loss, 1e-6) << step;
  }
  EXPECT_NE(weightsOf(first), weightsOf(second)); // sums in another order
  auto a = first.evaluate(source), b = second.evaluate(source);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->samples, b->samples);
  EXPECT_NEAR(a->loss, b->loss, 1e-5);
}

TEST(Engine, SeveralLosses) {
  sw::Model model = mlp();
  model.layers.push_back(
      sw::LayerSpec("Linear", "decoder", {{"in_features", 16}, {"out_features", 6}}).reads({"relu"}));
  model.layers.push_back({"Reshape", "picture", {{"shape", {2, 3}}}});
  model.losses = {{sw::LayerSpec("CrossEntropyLoss", "digit").reads({"fc2", "digit"})},
                  {sw::LayerSpec("MSELoss", "image").reads({"picture", "image"}), 0.5}};
  auto executable = sw::compile(model, sw::Config::json(kConfig), stages(3));
  ASSERT_TRUE(executable) << executable.error().text();
  EXPECT_EQ(executable->lossTerms(), (std::vector<std::string>{"digit", "image"}));
  sw::Engine engine = engineOf(*executable);
  Recorder source;
  auto before = engine.evaluate(source);
  ASSERT_TRUE(before);
  ASSERT_EQ(before->lossTerms.size(), 2u);
  const double digit = before->lossTerms[0], image = before->lossTerms[1];
  EXPECT_NEAR(before->loss, digit + 0.5 * image, 1e-6);
  EXPECT_TRUE(before->accuracy);
  for (int step = 0; step < 60; ++step) {
    auto report = engine.trainBatch(source);
    ASSERT_TRUE(report);
    ASSERT_EQ(report->lossTerms.size(), 2u);
    EXPECT_NEAR(report->loss, report->lossTerms[0] + 0.5 * report->lossTerms[1], 1e-6);
  }
  auto after = engine.evaluate(source);
  EXPECT_LT(after->lossTerms[0], digit); // both are learnt
  EXPECT_LT(after->lossTerms[1], image);
  model.losses[1].inputs = {"pictur", "image"};
  EXPECT_EQ(errorOf(model).place, "loss \"image\"");
}

TEST(Engine, ErrorsOfTheSourceChangeNothing) {
  sw::Engine engine = engineOf(compiled(2)), other = engineOf(compiled(2));
  Recorder source, good;
  ASSERT_TRUE(engine.trainBatch(good));
  ASSERT_TRUE(other.trainBatch(good));
  source.fails = sw::userError("socket", "is closed", "open it");
  EXPECT_EQ(engine.trainBatch(source).error().place, "socket");
  EXPECT_EQ(engine.evaluate(source).error().place, "socket");
  source.fails.reset();
  source.throws = true;
  EXPECT_NE(engine.trainBatch(source).error().what.find("of the source"), std::string::npos);
  source.throws = false;
  source.label = 4;
  EXPECT_EQ(engine.trainBatch(source).error().kind, sw::ErrorKind::User);
  source.label.reset();
  source.end = 7;
  EXPECT_EQ(engine.trainBatch(source).error().place, "DataSource::samples");
  EXPECT_EQ(engine.steps(), 1u);
  ASSERT_TRUE(engine.trainBatch(good));
  ASSERT_TRUE(other.trainBatch(good));
  EXPECT_EQ(weightsOf(engine), weightsOf(other));
}

TEST(Engine, TheSameBitsFromSourcesArraysAndPlans) {
  std::vector<float> pixels;
  std::vector<std::int64_t> labels;
  for (std::uint64_t sample = 0; sample < 27; ++sample) {
    for (std::size_t i = 0; i < 6; ++i) {
      pixels.push_back(Recorder::pixel(sample, i));
    }
    labels.push_back(Recorder::classOf(sample));
  }
  std::vector<std::string> weights;
  for (int count = 1; count <= 3; ++count) {
    const sw::StagedExecutable executable = compiled(count);
    auto arrays = sw::arraySource(executable, {{"digit", std::span<const std::int64_t>(labels)},
                                               {"image", std::span<const float>(pixels)}});
    ASSERT_TRUE(arrays) << arrays.error().text();
    EXPECT_EQ((*arrays)->samples(), 27u);
    Recorder source;
    sw::Engine a = engineOf(executable), b = engineOf(executable);
    for (int step = 0; step < 5; ++step) { // side by side
      ASSERT_TRUE(a.trainBatch(source));
      ASSERT_TRUE(b.trainBatch(**arrays));
    }
    weights.push_back(weightsOf(a));
    weights.push_back(weightsOf(b));
  }
  EXPECT_EQ(std::ranges::count(weights, weights[0]), 6);
}

TEST(Engine, EnginesOfSeveralThreadsDoNotMeet) {
  std::vector<std::string> weights(3);
  const auto work = [&](std::size_t i) {
    sw::Engine engine = engineOf(compiled(2)); // nor do compilations
    Recorder source;
    for (int step = 0; step < 20; ++step) {
      EXPECT_TRUE(engine.trainBatch(source));
    }
    weights[i] = weightsOf(engine);
  };
  std::thread one(work, 0), two(work, 1);
  one.join();
  two.join();
  work(2);
  EXPECT_EQ(weights[0], weights[2]);
  EXPECT_EQ(weights[1], weights[2]);
}

TEST(Engine, SteadyCallsAllocateNothing) {
  sw::Engine engine = engineOf(compiled(2));
  Recorder source;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(engine.trainBatch(source) && engine.evaluate(source));
  }
  const std::uint64_t before = stagewright::runtime::allocationCount();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(engine.trainBatch(source) && engine.evaluate(source));
  }
  EXPECT_EQ(stagewright::runtime::allocationCount(), before);
  const auto text = std::make_unique<std::string>(100, 'x'); // the counter counts
  EXPECT_GT(stagewright::runtime::allocationCount(), before);
}

TEST(Engine, WeightsMoveFromEngineToEngine) {
  Folder folder;
  sw::Engine engine = engineOf(compiled(2)), other = engineOf(compiled(3));
  Recorder source;
  ASSERT_TRUE(engine.trainBatch(source));
  ASSERT_TRUE(engine.saveWeights(folder.path("w.safetensors")));
  EXPECT_NE(weightsOf(engine), weightsOf(other));
  ASSERT_TRUE(other.loadWeights(folder.path("w.safetensors")));
  EXPECT_EQ(weightsOf(engine), weightsOf(other));
  EXPECT_EQ(engine.evaluate(source)->loss, other.evaluate(source)->loss);
  sw::EngineOptions options;
  options.initialWeights = folder.path("w.safetensors");
  auto third = sw::Engine::create(compiled(1), options);
  ASSERT_TRUE(third);
  EXPECT_EQ(weightsOf(*third), weightsOf(engine));
  EXPECT_FALSE(other.loadWeights("/nowhere"));
  other = std::move(engine); // an engine may be replaced
  EXPECT_EQ(other.steps(), 1u);
}

TEST(Engine, MistakesAreErrors) {
  const sw::StagedExecutable executable = compiled(2);
  sw::EngineOptions options;
  options.ranks = sw::Ranks::Processes;
  EXPECT_EQ(sw::Engine::create(executable, options).error().place, "EngineOptions::ranks");
  options = {};
  options.threads = -1;
  EXPECT_EQ(sw::Engine::create(executable, options).error().place, "EngineOptions::threads");
  options = {};
  options.initialWeights = "/nowhere";
  EXPECT_EQ(sw::Engine::create(executable, options).error().place, "/nowhere");
  const std::vector<float> pixels(12);
  const std::vector<std::int32_t> labels = {0, 4}, few = {0}, right = {0, 3};
  const auto refused = [&](std::vector<sw::Array> arrays) { return !sw::arraySource(executable, arrays); };
  const std::span<const float> image(pixels);
  EXPECT_TRUE(refused({{"image", image}}));
  EXPECT_TRUE(refused({{"image", image}, {"digit", std::span<const std::int32_t>(labels)}}));
  EXPECT_TRUE(refused({{"image", image}, {"digit", std::span<const std::int32_t>(few)}}));
  EXPECT_TRUE(refused({{"image", image.first(7)}, {"digit", std::span<const std::int32_t>(right)}}));
  EXPECT_TRUE(refused({{"image", image}, {"digit", image}}));
  EXPECT_TRUE(refused({{"image", image}, {"digit", std::span<const std::int32_t>(right)}, {"x", image}}));
  EXPECT_FALSE(refused({{"image", image}, {"digit", std::span<const std::int32_t>(right)}}));
  EXPECT_FALSE(sw::fileSource(executable, "/nowhere"));
  auto synthetic = sw::fileSource(executable, "synthetic");
  ASSERT_TRUE(synthetic);
  EXPECT_EQ((*synthetic)->samples(), 64u);
  // The columns of an engine of another model: nothing is written into them.
  std::vector<sw::InputInfo> inputs = executable.inputs();
  inputs[0].elements += 1;
  const std::vector<std::uint64_t> samples = {0};
  const std::vector<sw::Column> columns = {{&inputs[0], 1, nullptr}, {&inputs[1], 1, nullptr}};
  const auto filled = (*synthetic)->fill(samples, columns);
  ASSERT_FALSE(filled);
  EXPECT_NE(filled.error().what.find("other inputs"), std::string::npos) << filled.error().text();
}

TEST(Engine, AnInterruptEndsIt) {
  sw::Engine engine = engineOf(compiled(2));
  Recorder source;
  ASSERT_TRUE(engine.trainBatch(source));
  engine.interrupt();
  EXPECT_EQ(engine.trainBatch(source).error().kind, sw::ErrorKind::Interrupted);
  EXPECT_EQ(engine.evaluate(source).error().kind, sw::ErrorKind::Interrupted);
}

#else

TEST(Compile, WithoutTheCompilerItSaysSo) {
  EXPECT_EQ(errorOf(mlp()).kind, sw::ErrorKind::Environment);
  EXPECT_NE(errorOf(mlp()).what.find("compiler module"), std::string::npos);
}

#endif

} // namespace
