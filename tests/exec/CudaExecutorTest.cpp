// Ranks on an emulated GPU: what they compute is the host's within rounding, and the same bits whatever the
// plan and whichever stream runs ahead; a wait that is left out shows.
#include "CudaRuns.h"
#include "runtime/train/BatchEngine.h"

#include <cmath>
#include <filesystem>

namespace stagewright::runtime {
namespace {

/// A tied head, dropout, attention with rotary positions and grouped heads.
constexpr const char *kLanguage = R"({
  "name": "language",
  "inputs": [{"name": "tokens", "role": "feature", "dtype": "i32", "shape": [9]},
             {"name": "next", "role": "label", "dtype": "i32", "shape": [9]}],
  "layers": [
    {"type": "Embedding", "name": "wte", "num_embeddings": 21, "embedding_dim": 16, "init_std": 0.5, "tied": "tokens"},
    {"type": "LearnedPositions", "name": "wpe", "num_positions": 9, "embedding_dim": 16, "init_std": 0.1},
    {"type": "Sequential", "name": "h", "repeat": 2, "layers": [
      {"type": "LayerNorm", "name": "ln_1", "normalized_shape": 16},
      {"type": "Linear", "name": "qkv", "in_features": 16, "out_features": 48},
      {"type": "ScaledDotProductAttention", "name": "attention", "num_heads": 2, "is_causal": true},
      {"type": "Linear", "name": "out", "in_features": 16, "out_features": 16},
      {"type": "Dropout", "name": "drop", "p": 0.1},
      {"type": "Add", "name": "residual", "inputs": ["input", "drop"]},
      {"type": "LayerNorm", "name": "ln_2", "normalized_shape": 16},
      {"type": "Linear", "name": "up", "in_features": 16, "out_features": 40},
      {"type": "GELU", "name": "gelu", "approximate": "tanh"},
      {"type": "Linear", "name": "down", "in_features": 40, "out_features": 16},
      {"type": "Add", "name": "output", "inputs": ["residual", "down"]}
    ]},
    {"type": "LayerNorm", "name": "ln_f", "normalized_shape": 16},
    {"type": "Linear", "name": "head", "in_features": 16, "out_features": 21, "bias": false, "tied": "tokens"}],
  "loss": {"type": "CrossEntropyLoss"}, "metrics": ["accuracy"]})";

/// Running statistics, pooling, a skip connection.
constexpr const char *kImages = R"({
  "name": "images",
  "inputs": [{"name": "image", "role": "feature", "dtype": "f32", "shape": [3, 10, 10]},
             {"name": "label", "role": "label", "dtype": "i32", "shape": []}],
  "layers": [
    {"type": "Conv2d", "name": "conv1", "in_channels": 3, "out_channels": 6, "kernel_size": 3, "padding": 1},
    {"type": "BatchNorm2d", "name": "bn1", "num_features": 6},
    {"type": "ReLU", "name": "relu1"},
    {"type": "Conv2d", "name": "conv2", "in_channels": 6, "out_channels": 6, "kernel_size": 3, "padding": 1, "bias": false},
    {"type": "Add", "name": "sum", "inputs": ["relu1", "conv2"]},
    {"type": "MaxPool2d", "name": "pool", "kernel_size": 2},
    {"type": "Flatten", "name": "flatten"},
    {"type": "Linear", "name": "fc", "in_features": 150, "out_features": 4}],
  "loss": {"type": "CrossEntropyLoss"}, "metrics": ["accuracy"]})";

TEST(CudaExecutor, ComputesWhatTheHostComputes) {
  const std::string stage = compiled("host", kClassifier, "--stages 2");
  const auto onHost = train(optionsOf(stage, 5));
  ASSERT_TRUE(onHost) << onHost.error().text();
  EmulatedGpu gpu;
  const auto onDevice = trainOn(gpu, stage, 5);
  ASSERT_TRUE(onDevice) << onDevice.error().text();
  ASSERT_EQ(onDevice->losses.size(), 5u);
  for (std::size_t step = 0; step < 5; ++step) {
    EXPECT_NEAR(onDevice->losses[step], onHost->losses[step], 1e-5 * onHost->losses[step]);
  }
  // Beside the plan: what products add up for a bias, of the longest one of each stage.
  EXPECT_EQ(onDevice->allocatedBytes, onDevice->plannedBytes + (24 + 17) * sizeof(float));
}

TEST(CudaExecutor, SaysWhatItHasOfItsGpus) {
  const std::string stage = compiled("use", kClassifier, "--stages 2");
  EmulatedGpu gpu;
  TrainOptions options = optionsOn(gpu, stage, 2);
  std::size_t allocated = 0;
  options.onStep = [&](const StepReport &) { allocated = gpu.allocatedBytes(); };
  const auto trained = train(options);
  ASSERT_TRUE(trained && trained->device) << trained.error().text();
  EXPECT_EQ(trained->device->bytes, allocated);
  EXPECT_GE(trained->device->bytes, trained->plannedBytes);
  EXPECT_EQ(trained->device->graphs, std::uint64_t(gpu.counts().graphs));
  EXPECT_GT(trained->device->graphs, 0u);
  EXPECT_FALSE(train(optionsOf(stage, 2))->device);
}

TEST(CudaExecutor, SaysWhatCudnnRuns) {
  const std::string stage = compiled("cudnn", kImages, "--stages 2");
  for (const bool hasCudnn : {false, true}) {
    EmulatedGpu gpu;
    if (hasCudnn) {
      gpu.hasConvolution = [](const cuda::Convolution &) { return true; };
    }
    const auto trained = trainOn(gpu, stage, 2);
    ASSERT_TRUE(trained && trained->device) << trained.error().text();
    const cuda::DnnUses &uses = trained->device->dnn;
    const auto all = uses.kernels.at("conv2d");
    EXPECT_EQ(hasCudnn ? all.byOwn : all.byDnn, 0);
    EXPECT_GE(all.byOwn + all.byDnn, 2); // a layer of each size
    EXPECT_EQ(uses.kernels.at("attention").byDnn + uses.kernels.at("attention").byOwn, 0);
    EXPECT_EQ(uses.refusal, hasCudnn ? "" : "the emulated GPU has no cuDNN");
  }
}

TEST(CudaExecutor, TransformersAndConvolutionsStayBesideTheHostUnderEveryPlan) {
  struct Case {
    const char *name, *model, *precision;
    double relative;
  };
  for (const Case &one :
       {Case{"language", kLanguage, "", 1e-5},
        Case{"language", kLanguage, R"("bf16": {"enabled": true}, )", 0.02},
        Case{"images", kImages, "", 1e-5}, Case{"images", kImages, R"("fp16": {"enabled": true}, )", 0.02}}) {
    std::string expected;
    for (const char *arguments : {"--stages 1", "--stages 3 --schedule zb-h1"}) {
      const std::string stage = compiled(one.name, one.model, arguments, one.precision);
      const auto onHost = train(optionsOf(stage, 3));
      ASSERT_TRUE(onHost) << onHost.error().text();
      EmulatedGpu gpu;
      const auto onDevice = trainOn(gpu, stage, 3);
      ASSERT_TRUE(onDevice) << one.name << " " << onDevice.error().text();
      for (std::size_t step = 0; step < 3; ++step) {
        EXPECT_NEAR(onDevice->losses[step], onHost->losses[step], one.relative * onHost->losses[step])
            << one.name << " " << one.precision;
      }
      EXPECT_TRUE(gpu.races().empty()) << one.name << ": " << gpu.races()[0];
      expected = expected.empty() ? onDevice->stateSha256 : expected;
      EXPECT_EQ(onDevice->stateSha256, expected) << one.name << " " << one.precision;
    }
  }
}

TEST(CudaExecutor, BitsDoNotDependOnThePlan) {
  std::string expected;
  int plans = 0;
  for (const char *arguments : {"--stages 1", "--stages 2", "--stages 4", "--stages 4 --schedule gpipe",
                                "--stages 2 --schedule zb-h1", "--stages 4 --schedule zb-h1"}) {
    EmulatedGpu gpu;
    const std::string found = hashOn(gpu, compiled("plan" + std::to_string(plans++), kClassifier, arguments));
    expected = expected.empty() ? found : expected;
    EXPECT_EQ(found, expected) << arguments;
    EXPECT_EQ(found.size(), 64u) << found;
    EXPECT_TRUE(gpu.races().empty()) << arguments << ": " << gpu.races()[0];
  }
}

TEST(CudaExecutor, BitsDoNotDependOnWhichStreamRunsAhead) {
  const std::string stage = compiled("streams", kClassifier, "--stages 3");
  EmulatedGpu asGiven;
  const std::string expected = hashOn(asGiven, stage);
  const std::size_t streams = asGiven.waitsOfStreams().size();
  EXPECT_EQ(streams, 3u * 4u); // compute, fill, receive and collective of each rank
  for (const auto kind : {EmulatedGpu::Policy::Prefer, EmulatedGpu::Policy::Avoid}) {
    for (unsigned stream = 0; stream < streams; ++stream) {
      EmulatedGpu gpu;
      gpu.policy = {kind, stream};
      EXPECT_EQ(hashOn(gpu, stage), expected)
          << (kind == EmulatedGpu::Policy::Prefer ? "ahead: " : "behind: ") << stream;
    }
  }
}

TEST(CudaExecutor, EveryWaitIsNeeded) {
  for (const char *schedule : {"gpipe", "1f1b", "zb-h1"}) {
    const std::string stage = compiled(std::string("waits_") + schedule, kClassifier,
                                       std::string("--stages 2 --schedule ") + schedule);
    EmulatedGpu whole;
    ASSERT_EQ(hashOn(whole, stage).size(), 64u);
    EXPECT_TRUE(whole.races().empty()) << schedule << ": " << whole.races()[0];
    const std::vector<std::uint64_t> waits = whole.waitsOfStreams();
    std::uint64_t total = 0;
    for (unsigned stream = 0; stream < waits.size(); ++stream) {
      for (std::uint64_t number = 0; number < waits[stream]; ++number) {
        EmulatedGpu gpu;
        gpu.computes = false;
        gpu.omittedWait = EmulatedGpu::Wait{stream, number};
        (void)hashOn(gpu, stage);
        EXPECT_FALSE(gpu.races().empty())
            << schedule << ": wait " << number << " of stream " << stream << " of " << waits[stream];
        ++total;
      }
    }
    EXPECT_GE(total, 40u);
  }
}

/// A race also gives other results, as soon as a stream runs ahead: what finds races sees what there is.
TEST(CudaExecutor, AMissingWaitChangesResults) {
  const std::string stage = compiled("missing", kClassifier, "--stages 2");
  EmulatedGpu whole;
  const std::string expected = hashOn(whole, stage);
  // Of rank 1, whose first task waits for activations and then for its inputs.
  constexpr unsigned kComputing = 4;
  EmulatedGpu gpu;
  gpu.policy = {EmulatedGpu::Policy::Prefer, kComputing};
  EXPECT_EQ(hashOn(gpu, stage), expected);
  EmulatedGpu without;
  without.policy = gpu.policy;
  without.omittedWait = EmulatedGpu::Wait{kComputing, 1};
  EXPECT_NE(hashOn(without, stage), expected);
}

TEST(CudaExecutor, AStepAllocatesNothingCapturesNothingAndWaitsOnce) {
  const std::string stage = compiled("steady", kClassifier, "--stages 2");
  EmulatedGpu shorter, longer;
  ASSERT_EQ(hashOn(shorter, stage, 2).size(), 64u);
  ASSERT_EQ(hashOn(longer, stage, 12).size(), 64u);
  const EmulatedGpu::Counts few = shorter.counts(), many = longer.counts();
  EXPECT_EQ(many.allocations, few.allocations);
  EXPECT_EQ(many.graphs, few.graphs);
  EXPECT_EQ(many.plans, few.plans);
  EXPECT_EQ(many.launches, few.launches); // all of them while graphs are captured
  EXPECT_EQ(many.synchronizations - few.synchronizations, 10 * 2);
  EXPECT_GT(many.graphLaunches, few.graphLaunches);
  EXPECT_EQ(few.releases, few.allocations);
}

/// Two MLPs of GPT-2's form, and a GELU alone behind a Linear: layers of the list, which may be cut apart.
constexpr const char *kMlps = R"({
  "name": "mlps",
  "inputs": [{"name": "x", "role": "feature", "dtype": "f32", "shape": [16]},
             {"name": "label", "role": "label", "dtype": "i32", "shape": []}],
  "layers": [
    {"type": "Sequential", "name": "h", "repeat": 2, "layers": [
      {"type": "LayerNorm", "name": "ln", "normalized_shape": 16},
      {"type": "Linear", "name": "up", "in_features": 16, "out_features": 40},
      {"type": "GELU", "name": "gelu", "approximate": "tanh"},
      {"type": "Linear", "name": "down", "in_features": 40, "out_features": 16},
      {"type": "Add", "name": "output", "inputs": ["input", "down"]}
    ]},
    {"type": "Linear", "name": "a", "in_features": 16, "out_features": 24},
    {"type": "GELU", "name": "ga", "approximate": "tanh"},
    {"type": "Linear", "name": "b", "in_features": 24, "out_features": 8}],
  "loss": {"type": "CrossEntropyLoss"}, "metrics": ["accuracy"]})";

/// Products of one kind that were given to streams, in one warm-up and all graphs.
std::int64_t epilogues(const EmulatedGpu &gpu, cuda::Epilogue epilogue) {
  return gpu.counts().epilogues[static_cast<std::size_t>(epilogue)];
}

TEST(CudaExecutor, ProductsComputeWhatStandsBehindThemInTheirLayer) {
  const std::string stage = compiled("epilogues", kMlps, "--stages 1");
  EmulatedGpu gpu, without;
  without.hasEpilogue = [](const cuda::Product &) { return false; };
  const auto fused = trainOn(gpu, stage, 3), apart = trainOn(without, stage, 3);
  ASSERT_TRUE(fused && apart) << fused.error().text();
  for (std::size_t step = 0; step < 3; ++step) {
    EXPECT_NEAR(fused->losses[step], apart->losses[step], 1e-5 * apart->losses[step]);
  }
  EXPECT_NE(fused->stateSha256, apart->stateSha256);
  EXPECT_TRUE(gpu.races().empty()) << gpu.races()[0];
  // Of each linear a weight gradient; of the layers h, and not of a and ga, which are two blocks, GELUs.
  const std::int64_t runs = epilogues(gpu, cuda::Epilogue::RowSums) / 6;
  EXPECT_GT(runs, 0);
  EXPECT_EQ(epilogues(gpu, cuda::Epilogue::RowSums), 6 * runs);
  EXPECT_EQ(epilogues(gpu, cuda::Epilogue::GeluGrad), 2 * runs);
  const std::int64_t forward = epilogues(gpu, cuda::Epilogue::GeluAux) / 2,
                     evaluate = epilogues(gpu, cuda::Epilogue::Gelu) / 2; // which keeps no z
  EXPECT_GT(forward, 0);
  EXPECT_GT(evaluate, 0);
  EXPECT_EQ(epilogues(gpu, cuda::Epilogue::None), (6 - 2) * (forward + evaluate + runs));
  EXPECT_EQ(epilogues(without, cuda::Epilogue::RowSums) + epilogues(without, cuda::Epilogue::GeluGrad), 0);
}

TEST(CudaExecutor, EpiloguesDoNotDependOnThePlan) {
  for (const char *precision : {"", R"("bf16": {"enabled": true}, )"}) {
    std::string expected;
    int plans = 0;
    for (const char *arguments : {"--stages 1", "--stages 2", "--stages 4 --schedule zb-h1"}) {
      EmulatedGpu gpu;
      const std::string found =
          hashOn(gpu, compiled("epilogue_plan" + std::to_string(plans++), kMlps, arguments, precision));
      expected = expected.empty() ? found : expected;
      EXPECT_EQ(found, expected) << arguments;
      EXPECT_EQ(found.size(), 64u) << found;
      EXPECT_GT(epilogues(gpu, cuda::Epilogue::GeluAux), 0) << arguments;
    }
    expected.clear();
    for (const char *sharding :
         {R"("zero_optimization": {"stage": 0}, )", R"("zero_optimization": {"stage": 2}, )",
          R"("zero_optimization": {"stage": 3}, )"}) {
      EmulatedGpu gpu;
      const std::string found =
          hashOn(gpu, compiled("epilogue_zero" + std::to_string(plans++), kMlps,
                               "--stages 2 --data-parallel 2", precision + std::string(sharding)));
      expected = expected.empty() ? found : expected;
      EXPECT_EQ(found, expected) << sharding;
      EXPECT_EQ(found.size(), 64u) << found;
      EXPECT_TRUE(gpu.races().empty()) << sharding << gpu.races()[0];
    }
  }
}

TEST(CudaExecutor, OneLaunchUpdatesAllParametersOfAStage) {
  EmulatedGpu gpu;
  ASSERT_EQ(hashOn(gpu, compiled("updates", kMlps, "--stages 1")).size(), 64u);
  // Sixteen parameters: one launch as NORM and UPDATE warm up, and one in their graph.
  const std::int64_t one = gpu.launchesOf("adam_kernel"),
                     partials = gpu.launchesOf("gradient_norm_partials_kernel");
  EXPECT_EQ(one, 2);
  EXPECT_EQ(partials, 2);
}

TEST(CudaExecutor, Tf32IsAChoiceOfTheFile) {
  const std::string setting = R"("stagewright": {"tf32": true}, )";
  const std::string plain = compiled("fp32", kMlps, "--stages 2"),
                    chosen = compiled("tf32", kMlps, "--stages 2", setting),
                    other = compiled("tf32_one", kMlps, "--stages 1", setting),
                    sixteen = compiled("tf32_bf16", kMlps, "--stages 2",
                                       setting + R"("bf16": {"enabled": true}, )");
  const auto onHost = train(optionsOf(plain, 3)), ofChoice = train(optionsOf(chosen, 3));
  ASSERT_TRUE(onHost && ofChoice);
  EXPECT_EQ(onHost->stateSha256, ofChoice->stateSha256); // which has none
  EmulatedGpu inFull, rounded, inOneStage, inBf16;
  const auto exact = trainOn(inFull, plain, 3), found = trainOn(rounded, chosen, 3);
  ASSERT_TRUE(exact && found) << found.error().text();
  EXPECT_EQ(inFull.counts().tf32Products, 0);
  EXPECT_GT(rounded.counts().products, 0);
  EXPECT_EQ(rounded.counts().tf32Products, rounded.counts().products);
  EXPECT_NE(found->stateSha256, exact->stateSha256);
  for (std::size_t step = 0; step < 3; ++step) {
    EXPECT_NEAR(found->losses[step], onHost->losses[step], 2e-3 * onHost->losses[step]);
  }
  EXPECT_EQ(hashOn(inOneStage, other, 3), found->stateSha256);
  ASSERT_EQ(hashOn(inBf16, sixteen, 3).size(), 64u);
  EXPECT_EQ(inBf16.counts().tf32Products, 0); // of whose products none is of fp32
}

/// What is computed again has no product in front of it: such a file has GELUs of their own throughout, and
/// so the same bits whatever is computed again.
TEST(CudaExecutor, WhatIsComputedAgainIsNotComputedByProducts) {
  std::string expected;
  for (const char *policy : {"selective", "interval:1"}) {
    EmulatedGpu gpu;
    const std::string found =
        hashOn(gpu, compiled(std::string("again_") + policy[0], kMlps, "--stages 2",
                             R"("bf16": {"enabled": true}, "stagewright": {"recompute": ")" +
                                 std::string(policy) + R"("}, )"));
    EXPECT_EQ(epilogues(gpu, cuda::Epilogue::GeluAux) + epilogues(gpu, cuda::Epilogue::Gelu) +
                  epilogues(gpu, cuda::Epilogue::GeluGrad),
              0);
    expected = expected.empty() ? found : expected;
    EXPECT_EQ(found, expected) << policy;
    EXPECT_EQ(found.size(), 64u) << found;
  }
}

TEST(CudaExecutor, EvaluatesAsTheHost) {
  const std::string stage = compiled("evaluate", kClassifier, "--stages 2");
  EvaluateOptions options;
  options.stage = stage;
  options.data = "synthetic";
  options.threads = 1;
  options.watchdogSeconds = 0;
  options.outputs = temporaryFile("host.npz");
  const auto onHost = evaluate(options);
  ASSERT_TRUE(onHost) << onHost.error().text();
  EmulatedGpu gpu;
  options.target = "cuda";
  options.openDevice = [&](int, int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
  options.outputs = temporaryFile("cuda.npz");
  const auto onDevice = evaluate(options);
  ASSERT_TRUE(onDevice) << onDevice.error().text();
  EXPECT_EQ(onDevice->samples, onHost->samples);
  EXPECT_NEAR(*onDevice->loss, *onHost->loss, 1e-5);
  EXPECT_EQ(*onDevice->accuracy, *onHost->accuracy);
  EXPECT_EQ(onDevice->weightsSha256, onHost->weightsSha256);
  EXPECT_EQ(std::filesystem::file_size(temporaryFile("cuda.npz")),
            std::filesystem::file_size(temporaryFile("host.npz")));
}

TEST(CudaExecutor, SixteenBitsStayBesideTheHost) {
  for (const char *precision : {R"("bf16": {"enabled": true}, )", R"("fp16": {"enabled": true}, )"}) {
    const std::string stage = compiled("sixteen", kClassifier, "--stages 2", precision);
    const auto onHost = train(optionsOf(stage, 5));
    EmulatedGpu gpu;
    const auto onDevice = trainOn(gpu, stage, 5);
    ASSERT_TRUE(onHost && onDevice) << onDevice.error().text();
    for (std::size_t step = 0; step < 5; ++step) {
      EXPECT_NEAR(onDevice->losses[step], onHost->losses[step], 0.02 * onHost->losses[step]) << precision;
    }
    EXPECT_EQ(onDevice->lossScale, onHost->lossScale);
  }
}

TEST(CudaExecutor, RefusesWhatItDoesNotDo) {
  EmulatedGpu gpu;
  TrainOptions options = optionsOn(gpu, compiled("options", kClassifier, "--stages 2"), 1);
  options.trace = temporaryFile("t.jsonl");
  EXPECT_NE(train(options).error().text().find("--trace"), std::string::npos);
}

} // namespace
} // namespace stagewright::runtime
