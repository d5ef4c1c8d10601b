// A tiny language model, from its list of layers to trained weights:  example FOLDER [STAGES]
//
// Writes into FOLDER: model.json and config.json, which the program `stagewright` takes as well, x.stage and
// w.safetensors.
#include <stagewright/stagewright.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace sw = stagewright;

namespace {

constexpr std::int64_t kVocabulary = 32, kLength = 12, kWidth = 16;
constexpr int kSteps = 60;

const char *const kConfig = R"({
  "train_batch_size": 32,
  "train_micro_batch_size_per_gpu": 8,
  "optimizer": {"type": "Adam", "params": {"lr": 0.01}},
  "gradient_clipping": 1.0
})";

/// As with DeepSpeed's PipelineModule: a flat list, in which one key ties two layers to one weight.
sw::Model makeModel(std::int64_t width) {
  sw::Model model("tiny");
  model.inputs = {sw::tokens("ids", kLength), sw::label("next", {kLength})};
  model.layers = {
      sw::TiedLayerSpec("table", "Embedding", "wte",
                        {{"num_embeddings", kVocabulary}, {"embedding_dim", kWidth}}),
      {"Linear", "up", {{"in_features", width}, {"out_features", 4 * kWidth}}},
      {"GELU", "act"},
      {"Linear", "down", {{"in_features", 4 * kWidth}, {"out_features", kWidth}}},
      sw::TiedLayerSpec("table", "Linear", "head",
                        {{"in_features", kWidth}, {"out_features", kVocabulary}, {"bias", false}})};
  model.losses = {{"CrossEntropyLoss"}};
  model.accuracy = true;
  return model;
}

/// A source of our own: sample s counts from token s in steps of 5, which the model has to learn.
class Counting : public sw::DataSource {
public:
  explicit Counting(std::uint64_t count) : count(count) {}

  std::uint64_t samples() const override { return count; }

  sw::Result<void> fill(std::span<const std::uint64_t> samples,
                        std::span<const sw::Column> columns) override {
    for (std::size_t row = 0; row < samples.size(); ++row) {
      for (std::size_t i = 0; i < kLength; ++i) {
        columns[0].i32()[row * kLength + i] = token(samples[row], i);
        columns[1].i32()[row * kLength + i] = token(samples[row], i + 1);
      }
    }
    return {};
  }

private:
  static std::int32_t token(std::uint64_t sample, std::uint64_t i) {
    return static_cast<std::int32_t>((sample + 5 * i) % kVocabulary);
  }
  std::uint64_t count;
};

/// Errors are values; this program, not the library, decides to end.
template <typename T>
T must(sw::Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "example: %s\n", result.error().text().c_str());
    std::exit(static_cast<int>(result.error().kind));
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

void write(const std::string &path, const std::string &text) {
  std::ofstream(path) << text;
}

} // namespace

int main(int count, char **arguments) {
  const std::string folder = count > 1 ? arguments[1] : ".";
  const sw::Config config = sw::Config::json(kConfig);

  // A model with a mistake: nothing is thrown or printed, the error says where and what.
  auto refused = sw::compile(makeModel(kWidth + 1), config);
  std::printf("refused: %s\n", refused ? "no" : refused.error().text().c_str());

  const sw::Model model = makeModel(kWidth);
  write(folder + "/model.json", must(model.json()));
  write(folder + "/config.json", kConfig);
  sw::CompileOptions options;
  options.stages = count > 2 ? std::atoi(arguments[2]) : 2;
  must(must(sw::compile(model, config, options)).save(folder + "/x.stage"));
  const sw::StagedExecutable executable = must(sw::StagedExecutable::load(folder + "/x.stage"));
  std::printf("compiled: %s, %d stages, %llu bytes\n", executable.modelName().c_str(), executable.stages(),
              static_cast<unsigned long long>(executable.plannedBytes()));

  Counting train(256), test(64);
  sw::Engine engine = must(sw::Engine::create(executable));
  for (int step = 1; step <= kSteps; ++step) {
    const sw::StepReport report = must(engine.trainBatch(train));
    if (step == 1 || step % 20 == 0) {
      std::printf("step %d: loss %.4f, gradient norm %.3f\n", step, report.loss, report.gradientNorm);
      must(engine.evalBatch(test)); // in the middle of training: changes nothing
    }
  }
  const sw::EvaluationReport first = must(engine.evaluate(test));
  std::printf("evaluated: %llu samples, loss %.17g, accuracy %.4f\n",
              static_cast<unsigned long long>(first.samples), first.loss, first.accuracy.value_or(0));

  must(engine.saveWeights(folder + "/w.safetensors"));
  sw::Engine other = must(sw::Engine::create(executable));
  must(other.loadWeights(folder + "/w.safetensors"));
  const sw::EvaluationReport second = must(other.evaluate(test));
  std::printf("second engine: %s\n", second.loss == first.loss ? "equal" : "different");
  std::printf("weights_sha256: %s\n", must(engine.weightsSha256()).c_str());
  return 0;
}
