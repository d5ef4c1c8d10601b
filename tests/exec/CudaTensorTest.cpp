// Tensor ranks on an emulated GPU: what they compute is the host's within rounding, and the same bits
// whatever the stages, by copies and by NCCL, whichever stream runs ahead.
#include "CudaRuns.h"

namespace stagewright::runtime {
namespace {

constexpr const char *kBlocks = R"({
  "name": "blocks",
  "inputs": [{"name": "tokens", "role": "feature", "dtype": "i32", "shape": [9]},
             {"name": "next", "role": "label", "dtype": "i32", "shape": [9]}],
  "layers": [
    {"type": "Embedding", "name": "wte", "num_embeddings": 24, "embedding_dim": 16, "init_std": 0.5, "tied": "tokens"},
    {"type": "LearnedPositions", "name": "wpe", "num_positions": 9, "embedding_dim": 16, "init_std": 0.1},
    {"type": "Sequential", "name": "h", "repeat": 2, "layers": [
      {"type": "LayerNorm", "name": "ln_1", "normalized_shape": 16},
      {"type": "Linear", "name": "qkv", "in_features": 16, "out_features": 48},
      {"type": "ScaledDotProductAttention", "name": "attention", "num_heads": 4, "is_causal": true},
      {"type": "Linear", "name": "out", "in_features": 16, "out_features": 16},
      {"type": "Add", "name": "residual", "inputs": ["input", "out"]},
      {"type": "LayerNorm", "name": "ln_2", "normalized_shape": 16},
      {"type": "Linear", "name": "up", "in_features": 16, "out_features": 40},
      {"type": "GELU", "name": "gelu", "approximate": "tanh"},
      {"type": "Linear", "name": "down", "in_features": 40, "out_features": 16},
      {"type": "Add", "name": "output", "inputs": ["residual", "down"]}
    ]},
    {"type": "LayerNorm", "name": "ln_f", "normalized_shape": 16},
    {"type": "Linear", "name": "head", "in_features": 16, "out_features": 24, "bias": false, "tied": "tokens"}],
  "loss": {"type": "CrossEntropyLoss"}})";

std::string tensor(int ranks, const std::string &more = "") {
  return "--tensor-parallel " + std::to_string(ranks) + " " + more;
}

TEST(CudaTensor, StaysBesideTheHost) {
  struct Case {
    const char *name, *model, *settings;
    int ranks;
    double tolerance;
  };
  const Case cases[] = {{"two", kBlocks, "", 2, 1e-5},
                        {"four", kBlocks, "", 4, 1e-5},
                        {"three", kClassifier, "", 3, 1e-5},
                        {"bf16", kBlocks, R"("bf16": {"enabled": true}, )", 2, 2e-2}};
  for (const Case &one : cases) {
    const std::string stage =
        compiled(std::string("tensor_") + one.name, one.model, tensor(one.ranks), one.settings);
    std::vector<double> norms;
    TrainOptions host = optionsOf(stage, 3);
    host.onStep = [&](const StepReport &report) { norms.push_back(report.gradientNorm); };
    const auto onHost = train(host);
    ASSERT_TRUE(onHost) << one.name << ": " << onHost.error().text();
    EmulatedGpu gpu;
    TrainOptions device = optionsOn(gpu, stage, 3);
    device.onStep = host.onStep;
    const auto onDevice = train(device);
    ASSERT_TRUE(onDevice) << one.name << ": " << onDevice.error().text();
    EXPECT_TRUE(gpu.races().empty()) << one.name << ": " << gpu.races()[0];
    ASSERT_EQ(onDevice->losses.size(), 3u);
    ASSERT_EQ(norms.size(), 6u);
    for (std::size_t step = 0; step < 3; ++step) {
      EXPECT_NEAR(onDevice->losses[step], onHost->losses[step], one.tolerance * onHost->losses[step])
          << one.name << ", step " << step;
      EXPECT_NEAR(norms[3 + step], norms[step], 2 * one.tolerance * norms[step])
          << one.name << ", step " << step;
    }
  }
}

TEST(CudaTensor, BitsDoNotDependOnThePlan) {
  std::string expected;
  for (const char *plan : {"--stages 1", "--stages 2", "--stages 2 --schedule zb-h1"}) {
    const std::string stage = compiled("tensor_plans", kBlocks, tensor(2, plan));
    for (const bool usesNccl : {false, true}) {
      EmulatedGpu gpu;
      TrainOptions options = optionsOn(gpu, stage, 2);
      options.usesNccl = usesNccl;
      const auto trained = train(options);
      ASSERT_TRUE(trained) << plan << ": " << trained.error().text();
      expected = expected.empty() ? trained->stateSha256 : expected;
      EXPECT_EQ(trained->stateSha256, expected) << plan << (usesNccl ? ", NCCL" : ", copies");
      EXPECT_TRUE(gpu.races().empty()) << plan << ": " << gpu.races()[0];
    }
  }
}

TEST(CudaTensor, ReplicasOfTensorRanksHaveTheSameBitsHoweverTheyDivide) {
  std::string expected;
  for (const int stage : {0, 1, 3}) {
    const std::string file = compiled("tensor_zero", kBlocks, tensor(2, "--data-parallel 2"), zero(stage));
    for (const bool usesNccl : {false, true}) {
      EmulatedGpu gpu;
      TrainOptions options = optionsOn(gpu, file, 2);
      options.usesNccl = usesNccl;
      const auto trained = train(options);
      ASSERT_TRUE(trained) << stage << ": " << trained.error().text();
      expected = expected.empty() ? trained->stateSha256 : expected;
      EXPECT_EQ(trained->stateSha256, expected) << stage << (usesNccl ? ", NCCL" : ", copies");
      EXPECT_TRUE(gpu.races().empty()) << stage << ": " << gpu.races()[0];
    }
  }
}

TEST(CudaTensor, BitsDoNotDependOnWhichStreamRunsAhead) {
  const std::string stage = compiled("tensor_ahead", kClassifier, tensor(3));
  EmulatedGpu asGiven;
  const std::string expected = hashOn(asGiven, stage);
  ASSERT_EQ(expected.size(), 64u) << expected;
  for (const auto kind : {EmulatedGpu::Policy::Prefer, EmulatedGpu::Policy::Avoid}) {
    for (unsigned stream = 0; stream < asGiven.waitsOfStreams().size(); ++stream) {
      EmulatedGpu gpu;
      gpu.policy = {kind, stream};
      EXPECT_EQ(hashOn(gpu, stage), expected)
          << (kind == EmulatedGpu::Policy::Prefer ? "ahead: " : "behind: ") << stream;
    }
  }
}

/// Of the streams of groups (the fifth of each rank), in the first of two steps: behind the last one nobody
/// writes again. Others wait for what a later message may imply. A stream is given its copies by whichever
/// thread comes second, so that what is implied may differ between runs: a wait that was not made cannot be
/// left out.
TEST(CudaTensor, EveryWaitIsNeeded) {
  const std::string stage = compiled("tensor_waits", kClassifier, tensor(2));
  EmulatedGpu whole;
  ASSERT_EQ(hashOn(whole, stage).size(), 64u);
  const std::vector<std::uint64_t> waits = whole.waitsOfStreams();
  int looked = 0;
  for (unsigned stream = 4; stream < waits.size(); stream += 5) {
    for (std::uint64_t number = 0; number < waits[stream] / 2; ++number) {
      EmulatedGpu gpu;
      gpu.computes = false;
      gpu.omittedWait = EmulatedGpu::Wait{stream, number};
      (void)hashOn(gpu, stage);
      if (gpu.waitsOfStreams()[stream] > number) {
        EXPECT_FALSE(gpu.races().empty())
            << "wait " << number << " of stream " << stream << " of " << waits[stream];
        ++looked;
      }
    }
  }
  EXPECT_GE(looked, 12);
}

} // namespace
} // namespace stagewright::runtime
