// Ranks on an emulated GPU: what they compute is the host's within rounding, and the same bits whatever the
// plan and whichever stream runs ahead; a wait that is left out shows.
#include "kernels/cuda/emulation/EmulatedGpu.h"
#include "runtime/train/Engine.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace stagewright::runtime {
namespace {

using cuda::emulation::EmulatedGpu;

constexpr const char *kClassifier = R"({
  "name": "classifier",
  "inputs": [{"name": "x", "role": "feature", "dtype": "f32", "shape": [13]},
             {"name": "label", "role": "label", "dtype": "i32", "shape": []}],
  "layers": [{"type": "Linear", "name": "a", "in_features": 13, "out_features": 24},
             {"type": "ReLU", "name": "ra"},
             {"type": "Linear", "name": "b", "in_features": 24, "out_features": 17},
             {"type": "ReLU", "name": "rb"},
             {"type": "Linear", "name": "c", "in_features": 17, "out_features": 9},
             {"type": "ReLU", "name": "rc"},
             {"type": "Linear", "name": "d", "in_features": 9, "out_features": 5}],
  "loss": {"type": "CrossEntropyLoss"}, "metrics": ["accuracy"]})";

/// Compiles for the host and for CUDA; the file's path.
std::string compiled(const std::string &name, const std::string &model, const std::string &arguments,
                     const std::string &precision = "") {
  const std::string base = testing::TempDir() + "cuda_" + name;
  std::ofstream(base + ".json") << model;
  std::ofstream(base + "_config.json")
      << R"({"train_batch_size": 12, "train_micro_batch_size_per_gpu": 3, "gradient_clipping": 0.01, )"
      << precision << R"("optimizer": {"type": "Adam", "params": {"lr": 0.01}}, "seed": 7})";
  const std::string command = std::string(STAGEWRIGHT_PROGRAM) + " compile " + base + ".json -c " + base +
                              "_config.json --target host,cuda:sm_90 " + arguments + " -o " + base + ".stage";
  EXPECT_EQ(std::system((command + " > /dev/null").c_str()), 0) << command;
  return base + ".stage";
}

TrainOptions optionsOf(const std::string &stage, std::uint64_t steps) {
  TrainOptions options;
  options.stage = stage;
  options.data = "synthetic";
  options.steps = steps;
  options.threads = 1;
  options.watchdogSeconds = 0;
  return options;
}

Result<TrainSummary> trainOn(EmulatedGpu &gpu, const std::string &stage, std::uint64_t steps = 2) {
  TrainOptions options = optionsOf(stage, steps);
  options.target = "cuda";
  options.openDevice = [&](int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
  return train(options);
}

/// Of a run that may fail.
std::string hashOn(EmulatedGpu &gpu, const std::string &stage, std::uint64_t steps = 2) {
  const auto trained = trainOn(gpu, stage, steps);
  return trained ? trained->stateSha256 : trained.error().text();
}

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
  EXPECT_EQ(onDevice->plannedBytes, onDevice->allocatedBytes);
}

TEST(CudaExecutor, SaysWhatItHasOfItsGpus) {
  const std::string stage = compiled("use", kClassifier, "--stages 2");
  EmulatedGpu gpu;
  TrainOptions options = optionsOf(stage, 2);
  options.target = "cuda";
  options.openDevice = [&](int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
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
  EXPECT_EQ(streams, 3u * 3u); // compute, fill and receive of each rank
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
  constexpr unsigned kComputing = 3;
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

TEST(CudaExecutor, EvaluatesAsTheHost) {
  const std::string stage = compiled("evaluate", kClassifier, "--stages 2");
  EvaluateOptions options;
  options.stage = stage;
  options.data = "synthetic";
  options.threads = 1;
  options.watchdogSeconds = 0;
  options.outputs = testing::TempDir() + "host.npz";
  const auto onHost = evaluate(options);
  ASSERT_TRUE(onHost) << onHost.error().text();
  EmulatedGpu gpu;
  options.target = "cuda";
  options.openDevice = [&](int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
  options.outputs = testing::TempDir() + "cuda.npz";
  const auto onDevice = evaluate(options);
  ASSERT_TRUE(onDevice) << onDevice.error().text();
  EXPECT_EQ(onDevice->samples, onHost->samples);
  EXPECT_NEAR(*onDevice->loss, *onHost->loss, 1e-5);
  EXPECT_EQ(*onDevice->accuracy, *onHost->accuracy);
  EXPECT_EQ(onDevice->weightsSha256, onHost->weightsSha256);
  EXPECT_EQ(std::filesystem::file_size(testing::TempDir() + "cuda.npz"),
            std::filesystem::file_size(testing::TempDir() + "host.npz"));
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
  const auto refusal = [&](const std::string &stage) {
    const auto trained = trainOn(gpu, stage);
    return trained ? std::string("trained") : trained.error().text();
  };
  EXPECT_NE(refusal(compiled("replicas", kClassifier, "--data-parallel 2")).find("data parallelism"),
            std::string::npos);
  TrainOptions options = optionsOf(compiled("options", kClassifier, "--stages 2"), 1);
  options.target = "cuda";
  options.openDevice = [&](int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
  options.trace = testing::TempDir() + "t.jsonl";
  EXPECT_NE(train(options).error().text().find("--trace"), std::string::npos);
}

} // namespace
} // namespace stagewright::runtime
