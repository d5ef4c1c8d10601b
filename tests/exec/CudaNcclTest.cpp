// Ranks whose messages go by NCCL, on an emulated GPU for each: the bits are those of copies between threads,
// no work is without an order, and what goes wrong ends the run.
#include "CudaRuns.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <thread>

namespace stagewright::runtime {
namespace {

std::string hashByNccl(EmulatedGpu &gpu, const std::string &stage) {
  const auto trained = train(byNccl(gpu, stage, 3));
  return trained ? trained->stateSha256 : trained.error().text();
}

void expectTheBitsOfCopies(const std::string &name, const char *model, const std::string &arguments,
                           const std::string &settings = "") {
  const std::string stage = compiled("nccl_" + name, model, arguments, settings);
  EmulatedGpu copies;
  const std::string expected = hashOn(copies, stage, 3);
  ASSERT_EQ(expected.size(), 64u) << expected;
  EmulatedGpu gpu;
  EXPECT_EQ(hashByNccl(gpu, stage), expected) << arguments << settings;
  EXPECT_TRUE(gpu.races().empty()) << arguments << ": " << gpu.races()[0];
  EXPECT_EQ(gpu.counts().connections, 0);
  EXPECT_EQ(gpu.counts().aborts, 0);
  EXPECT_EQ(gpu.counts().hangs, 0);
}

constexpr const char *kTied = R"({
  "name": "tied",
  "inputs": [{"name": "tokens", "role": "feature", "dtype": "i32", "shape": [5]},
             {"name": "next", "role": "label", "dtype": "i32", "shape": [5]}],
  "layers": [
    {"type": "Embedding", "name": "wte", "num_embeddings": 21, "embedding_dim": 8, "init_std": 0.5, "tied": "t"},
    {"type": "Linear", "name": "a", "in_features": 8, "out_features": 8},
    {"type": "GELU", "name": "gelu"},
    {"type": "Linear", "name": "b", "in_features": 8, "out_features": 8},
    {"type": "Linear", "name": "head", "in_features": 8, "out_features": 21, "bias": false, "tied": "t"}],
  "loss": {"type": "CrossEntropyLoss"}})";

constexpr const char *kNormalized = R"({
  "name": "normalized",
  "inputs": [{"name": "image", "role": "feature", "dtype": "f32", "shape": [3, 6, 6]},
             {"name": "label", "role": "label", "dtype": "i32", "shape": []}],
  "layers": [
    {"type": "Conv2d", "name": "conv", "in_channels": 3, "out_channels": 6, "kernel_size": 3, "padding": 1},
    {"type": "SyncBatchNorm", "name": "bn", "num_features": 6},
    {"type": "ReLU", "name": "relu"},
    {"type": "Flatten", "name": "flatten"},
    {"type": "Linear", "name": "fc", "in_features": 216, "out_features": 4}],
  "loss": {"type": "CrossEntropyLoss"}})";

TEST(CudaNccl, StagesHaveTheBitsOfCopies) {
  for (const char *schedule : {"gpipe", "1f1b", "zb-h1"}) {
    for (const char *stages : {"2", "4"}) {
      expectTheBitsOfCopies(std::string("stages_") + schedule, kClassifier,
                            std::string("--stages ") + stages + " --schedule " + schedule);
    }
  }
}

TEST(CudaNccl, ReplicasHaveTheBitsOfCopies) {
  for (int stage = 0; stage < 4; ++stage) {
    expectTheBitsOfCopies("zero", kClassifier, "--stages 2 --data-parallel 2", zero(stage));
  }
  expectTheBitsOfCopies("four", kClassifier, "--stages 1 --data-parallel 4",
                        zero(3, R"(, "zero_hpz_partition_size": 2)"));
  expectTheBitsOfCopies("tied", kTied, "--stages 2 --data-parallel 2", zero(1));
  expectTheBitsOfCopies("sync", kNormalized, "--stages 2 --data-parallel 2");
}

/// Channels, groups of replicas, groups of tensor ranks.
constexpr const char *kPlans[] = {"--stages 3", "--data-parallel 3", "--tensor-parallel 2"};

TEST(CudaNccl, BitsDoNotDependOnWhichStreamRunsAhead) {
  for (const char *plan : kPlans) {
    const std::string stage = compiled("nccl_ahead", kClassifier, plan, zero(0), 18);
    EmulatedGpu asGiven;
    const std::string expected = hashByNccl(asGiven, stage);
    ASSERT_EQ(expected.size(), 64u) << expected;
    for (const auto kind : {EmulatedGpu::Policy::Prefer, EmulatedGpu::Policy::Avoid}) {
      for (unsigned stream = 0; stream < asGiven.waitsOfStreams().size(); ++stream) {
        EmulatedGpu gpu;
        gpu.policy = {kind, stream};
        EXPECT_EQ(hashByNccl(gpu, stage), expected)
            << plan << (kind == EmulatedGpu::Policy::Prefer ? ", ahead: " : ", behind: ") << stream;
      }
    }
  }
}

TEST(CudaNccl, EveryWaitIsNeeded) {
  for (const char *plan : {"--stages 2", "--data-parallel 2"}) {
    const std::string stage = compiled("nccl_waits", kClassifier, plan, zero(1));
    EmulatedGpu whole;
    ASSERT_EQ(hashByNccl(whole, stage).size(), 64u);
    const std::vector<std::uint64_t> waits = whole.waitsOfStreams();
    int looked = 0, all = 0, unneeded = 0;
    for (unsigned stream = 0; stream < waits.size(); ++stream) {
      // Of two of the three steps: behind the last one nobody writes again what is still on its way.
      for (std::uint64_t number = 0; number < waits[stream] * 2 / 3; ++number) {
        ++all;
        EmulatedGpu gpu;
        gpu.computes = false;
        gpu.omittedWait = EmulatedGpu::Wait{stream, number};
        (void)hashByNccl(gpu, stage);
        if (gpu.waitsOfStreams()[stream] <= number) {
          continue; // streams of channels are numbered as the ranks' threads come
        }
        unneeded += gpu.races().empty();
        ++looked;
      }
    }
    // A group waits for all that its messages wait for, at once.
    const bool hasGroups = std::string(plan) != "--stages 2";
    EXPECT_LE(unneeded, hasGroups ? all / 8 : 0) << plan;
    EXPECT_GE(looked, all * 3 / 4);
    EXPECT_GE(all, 20);
  }
}

/// The host waits in finish() alone, which asks the stream and does not block.
TEST(CudaNccl, AStepAllocatesNothingConnectsNothingAndDoesNotBlock) {
  const std::string stage = compiled("nccl_steady", kClassifier, "--stages 2 --data-parallel 2", zero(1));
  EmulatedGpu gpu;
  std::vector<EmulatedGpu::Counts> counts;
  TrainOptions options = byNccl(gpu, stage, 4);
  options.onStep = [&](const StepReport &) { counts.push_back(gpu.counts()); };
  ASSERT_TRUE(train(options));
  ASSERT_EQ(counts.size(), 4u);
  EXPECT_EQ(counts[3].allocations, counts[1].allocations);
  EXPECT_EQ(counts[3].connections, counts[1].connections);
  EXPECT_EQ(counts[3].synchronizations, counts[1].synchronizations);
  EXPECT_EQ(counts[3].graphs, counts[1].graphs);
  EXPECT_GT(counts[1].connections, 0);
}

/// Rank 1 stays away from step 2; of the others' waits the error's or the interrupt's end is the end.
Result<TrainSummary> trainUntilRankOneIsGone(EmulatedGpu &gpu, const std::string &stage,
                                             const std::function<void()> &meanwhile) {
  TrainOptions options = byNccl(gpu, stage, 4);
  struct Death {
    std::atomic<bool> isNear = false;
    const std::function<void()> *meanwhile = nullptr;
  } death;
  death.meanwhile = &meanwhile;
  options.onStep = [&](const StepReport &) { death.isNear = true; };
  Hooks hooks;
  hooks.context = &death;
  hooks.beforeTask = [](void *context, const TaskEvent &event) {
    const auto &own = *static_cast<Death *>(context);
    if (own.isNear && event.rank == 1) {
      (*own.meanwhile)();
      throw std::runtime_error("rank 1 is gone");
    }
  };
  options.hooks.push_back(hooks);
  return train(options);
}

TEST(CudaNccl, AFailureOnTheWayEndsTheRun) {
  for (const char *plan : kPlans) {
    const std::string stage = compiled("nccl_failure", kClassifier, plan, zero(0), 18);
    EmulatedGpu gpu;
    const auto trained = trainUntilRankOneIsGone(gpu, stage, [&] {
      gpu.failConnections(environmentError("NCCL, on the way", "remote process has exited", ""));
      // The others hear of it by NCCL, before this rank's own end.
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    });
    ASSERT_FALSE(trained);
    EXPECT_NE(trained.error().text().find("remote process has exited"), std::string::npos)
        << plan << ": " << trained.error().text();
    EXPECT_GT(gpu.counts().aborts, 0);
    EXPECT_EQ(gpu.counts().connections, 0);
    EXPECT_EQ(gpu.counts().hangs, 0) << plan;
  }
}

TEST(CudaNccl, ARankThatIsGoneEndsTheOthers) {
  for (const char *plan : kPlans) {
    const std::string stage = compiled("nccl_gone", kClassifier, plan, zero(0), 18);
    EmulatedGpu gpu;
    const auto trained = trainUntilRankOneIsGone(gpu, stage, [] {});
    ASSERT_FALSE(trained);
    EXPECT_NE(trained.error().text().find("rank 1 is gone"), std::string::npos) << trained.error().text();
    EXPECT_EQ(gpu.counts().connections, 0);
    EXPECT_EQ(gpu.counts().hangs, 0) << plan;
  }
}

TEST(CudaNccl, TooFewQueuesAreRefused) {
  const std::string stage = compiled("nccl_queues", kClassifier, "--stages 2");
  EmulatedGpu gpu;
  ASSERT_EQ(setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1", 1), 0);
  const auto trained = train(byNccl(gpu, stage, 1));
  unsetenv("CUDA_DEVICE_MAX_CONNECTIONS");
  ASSERT_FALSE(trained);
  EXPECT_NE(trained.error().text().find("CUDA_DEVICE_MAX_CONNECTIONS: is 1"), std::string::npos)
      << trained.error().text();
}

TEST(CudaNccl, OffloadedWeightsAreRefused) {
  const std::string offloaded = zero(3, R"(, "offload_param": {"device": "cpu"})");
  EmulatedGpu gpu;
  const auto trained =
      train(byNccl(gpu, compiled("nccl_offload", kClassifier, "--data-parallel 2", offloaded), 1));
  ASSERT_FALSE(trained);
  EXPECT_EQ(trained.error().kind, ErrorKind::User);
  EXPECT_NE(trained.error().text().find("offload_param of several replicas with ranks as processes"),
            std::string::npos)
      << trained.error().text();
}

TEST(CudaNccl, RanksThatShareAGpuAreRefused) {
  const std::string stage = compiled("nccl_shared", kClassifier, "--stages 2");
  EmulatedGpu gpu;
  TrainOptions options = byNccl(gpu, stage, 1);
  options.openDevice = [&](int, int) -> Result<std::unique_ptr<cuda::Api>> {
    return gpu.api("0000:17:00.0");
  };
  const auto trained = train(options);
  ASSERT_FALSE(trained);
  EXPECT_EQ(trained.error().kind, ErrorKind::Environment);
  EXPECT_NE(trained.error().text().find("ranks 0 and 1 would share the GPU 0000:17:00.0"), std::string::npos)
      << trained.error().text();
}

} // namespace
} // namespace stagewright::runtime
