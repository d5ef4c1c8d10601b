// Replicas on an emulated GPU: the same bits however they divide states and weights and whichever stream runs
// ahead; a wait that is left out shows.
#include "CudaRuns.h"
#include "kernels/cuda/device/OrderedSumArguments.h"
#include "runtime/train/BatchEngine.h"

#include <cmath>
#include <filesystem>

namespace stagewright::runtime {
namespace {

struct ReplicaPlan {
  const char *arguments;
  std::string settings;
};

/// All of one result contract. Two replicas; of micro-batches, `reduction` has the setting of the contract.
std::vector<ReplicaPlan> replicaPlans(const std::string &reduction) {
  const std::string and_ = reduction.empty() ? "" : ", " + reduction;
  return {{"--stages 1", zero(0, "", reduction)},
          {"--stages 2", zero(0, "", reduction)},
          {"--stages 2 --schedule zb-h1", zero(0, "", reduction)},
          {"--stages 1", zero(0, R"(, "overlap_comm": false)", reduction)},
          {"--stages 1", zero(1, "", reduction)},
          {"--stages 4 --schedule gpipe", zero(1, "", reduction)},
          {"--stages 2", zero(1, R"(, "overlap_comm": false)", reduction)},
          {"--stages 2", zero(2, "", reduction)},
          {"--stages 1 --schedule zb-h1", zero(2, "", reduction)},
          {"--stages 1", zero(3, "", reduction)},
          {"--stages 2", zero(3, "", R"("gather_weights": "visit")" + and_)},
          {"--stages 2 --schedule zb-h1", zero(3, "", R"("gather_weights": "block")" + and_)},
          {"--stages 4", zero(3, "", R"("gather_weights": "step")" + and_)}};
}

TEST(CudaReplicas, ReplicasHaveTheSameBitsHoweverTheyDivide) {
  for (const std::string reduction : {"", R"("gradient_reduction": "micro_batch")"}) {
    std::string expected;
    int plans = 0;
    for (const ReplicaPlan &plan : replicaPlans(reduction)) {
      const std::string where = std::string(plan.arguments) + " " + plan.settings;
      const std::string stage = compiled("replicas" + std::to_string(plans++), kClassifier,
                                         std::string("--data-parallel 2 ") + plan.arguments, plan.settings);
      EmulatedGpu gpu;
      const auto onDevice = trainOn(gpu, stage, 3);
      ASSERT_TRUE(onDevice) << where << onDevice.error().text();
      expected = expected.empty() ? onDevice->stateSha256 : expected;
      EXPECT_EQ(onDevice->stateSha256, expected) << where;
      EXPECT_TRUE(gpu.races().empty()) << where << ": " << gpu.races()[0];
      const auto onHost = train(optionsOf(stage, 3));
      ASSERT_TRUE(onHost) << onHost.error().text();
      for (std::size_t step = 0; step < 3; ++step) {
        EXPECT_NEAR(onDevice->losses[step], onHost->losses[step], 1e-5 * onHost->losses[step]) << where;
      }
    }
  }
}

/// Sums of tied parameters travel by pieces, and weights in shards; steps of fp16 are skipped on all
/// replicas.
TEST(CudaReplicas, ReplicasOfTiedParametersInSixteenBits) {
  constexpr const char *kTied = R"({
    "name": "tied",
    "inputs": [{"name": "x", "role": "feature", "dtype": "f32", "shape": [16]},
               {"name": "label", "role": "label", "dtype": "i32", "shape": []}],
    "layers": [{"type": "Linear", "name": "a", "in_features": 16, "out_features": 16, "tied": "t"},
               {"type": "ReLU", "name": "ra"},
               {"type": "Linear", "name": "b", "in_features": 16, "out_features": 16},
               {"type": "ReLU", "name": "rb"},
               {"type": "Linear", "name": "c", "in_features": 16, "out_features": 16, "tied": "t"},
               {"type": "ReLU", "name": "rc"},
               {"type": "Linear", "name": "d", "in_features": 16, "out_features": 5}],
    "loss": {"type": "CrossEntropyLoss"}})";
  for (const std::string precision : {"", R"("fp16": {"enabled": true}, )"}) {
    for (const std::string reduction : {"", R"("gradient_reduction": "micro_batch")"}) {
      std::string expected;
      for (const ReplicaPlan &plan : {ReplicaPlan{"--stages 1", zero(0, "", reduction)},
                                      ReplicaPlan{"--stages 2", zero(0, "", reduction)},
                                      ReplicaPlan{"--stages 4 --schedule gpipe", zero(1, "", reduction)},
                                      ReplicaPlan{"--stages 2 --schedule zb-h1", zero(2, "", reduction)},
                                      ReplicaPlan{"--stages 2", zero(3, "", reduction)}}) {
        const std::string where = plan.arguments + plan.settings + precision;
        EmulatedGpu gpu;
        const std::string found =
            hashOn(gpu,
                   compiled("tied", kTied, std::string("--data-parallel 2 ") + plan.arguments,
                            plan.settings + precision),
                   3);
        expected = expected.empty() ? found : expected;
        EXPECT_EQ(found.size(), 64u) << where << found;
        EXPECT_EQ(found, expected) << where;
        EXPECT_TRUE(gpu.races().empty()) << where << ": " << gpu.races()[0];
      }
    }
  }
}

TEST(CudaReplicas, SyncBatchNormSeesAllReplicas) {
  std::string model = kClassifier;
  const std::string relu = R"({"type": "ReLU", "name": "ra"})";
  model.replace(model.find(relu), relu.size(),
                R"({"type": "SyncBatchNorm", "name": "n", "num_features": 24})");
  std::string expected;
  for (const ReplicaPlan &plan : {ReplicaPlan{"--stages 1", zero(0)}, ReplicaPlan{"--stages 2", zero(1)},
                                  ReplicaPlan{"--stages 3 --schedule zb-h1", zero(3)}}) {
    const std::string stage =
        compiled("together", model, std::string("--data-parallel 2 ") + plan.arguments, plan.settings);
    const auto onHost = train(optionsOf(stage, 3));
    EmulatedGpu gpu;
    const auto onDevice = trainOn(gpu, stage, 3);
    ASSERT_TRUE(onHost && onDevice) << onDevice.error().text();
    expected = expected.empty() ? onDevice->stateSha256 : expected;
    EXPECT_EQ(onDevice->stateSha256, expected) << plan.arguments;
    EXPECT_TRUE(gpu.races().empty()) << plan.arguments << ": " << gpu.races()[0];
    for (std::size_t step = 0; step < 3; ++step) {
      EXPECT_NEAR(onDevice->losses[step], onHost->losses[step], 1e-5 * onHost->losses[step]);
    }
  }
}

/// Three replicas: here the order of sums counts. And groups of shards, whose replicas have weights twice.
TEST(CudaReplicas, ThreeAndFourReplicas) {
  for (const int replicas : {3, 4}) {
    std::string expected;
    for (const std::string &settings :
         {zero(0), zero(1), zero(3),
          zero(3, R"(, "zero_hpz_partition_size": )" + std::to_string(replicas == 4 ? 2 : 3))}) {
      EmulatedGpu gpu;
      const std::string found =
          hashOn(gpu, compiled("many", kClassifier, "--stages 2 --data-parallel " + std::to_string(replicas),
                               settings, 6 * replicas));
      expected = expected.empty() ? found : expected;
      EXPECT_EQ(found.size(), 64u) << found;
      EXPECT_EQ(found, expected) << settings;
      EXPECT_TRUE(gpu.races().empty()) << settings << ": " << gpu.races()[0];
    }
  }
}

TEST(CudaReplicas, BitsOfReplicasDoNotDependOnWhichStreamRunsAhead) {
  for (const std::string &settings :
       {zero(0), zero(2, "", R"("gradient_reduction": "micro_batch")"), zero(3)}) {
    const std::string stage = compiled("ahead", kClassifier, "--stages 2 --data-parallel 2", settings);
    EmulatedGpu asGiven;
    const std::string expected = hashOn(asGiven, stage);
    EXPECT_EQ(expected.size(), 64u) << expected;
    const std::size_t streams = asGiven.waitsOfStreams().size();
    for (const auto kind : {EmulatedGpu::Policy::Prefer, EmulatedGpu::Policy::Avoid}) {
      for (unsigned stream = 0; stream < streams; ++stream) {
        EmulatedGpu gpu;
        gpu.policy = {kind, stream};
        EXPECT_EQ(hashOn(gpu, stage), expected) << settings << stream;
      }
    }
  }
}

TEST(CudaReplicas, EveryWaitOfReplicasIsNeeded) {
  const std::string stage = compiled("replica_waits", kClassifier, "--stages 2 --data-parallel 2", zero(1));
  EmulatedGpu whole;
  ASSERT_EQ(hashOn(whole, stage).size(), 64u);
  ASSERT_TRUE(whole.races().empty()) << whole.races()[0];
  const std::vector<std::uint64_t> waits = whole.waitsOfStreams();
  int looked = 0;
  for (unsigned stream = 0; stream < waits.size(); ++stream) {
    for (std::uint64_t number = 0; number < waits[stream]; ++number) {
      EmulatedGpu gpu;
      gpu.computes = false;
      gpu.omittedWait = EmulatedGpu::Wait{stream, number};
      (void)hashOn(gpu, stage);
      if (gpu.waitsOfStreams()[stream] <= number) {
        continue; // which copy a stream is given first, and so what is implied, is up to the ranks' threads
      }
      EXPECT_FALSE(gpu.races().empty())
          << "wait " << number << " of stream " << stream << " of " << waits[stream];
      ++looked;
    }
  }
  EXPECT_GE(looked, 60);
}

TEST(CudaReplicas, AStepOfReplicasAllocatesNothingCapturesNothingAndWaitsOnce) {
  for (const int stage : {0, 1, 3}) {
    const std::string file = compiled("steady_replicas", kClassifier, "--data-parallel 2", zero(stage));
    EmulatedGpu shorter, longer;
    ASSERT_EQ(hashOn(shorter, file, 2).size(), 64u);
    ASSERT_EQ(hashOn(longer, file, 12).size(), 64u);
    const EmulatedGpu::Counts few = shorter.counts(), many = longer.counts();
    EXPECT_EQ(many.allocations, few.allocations);
    EXPECT_EQ(many.graphs, few.graphs);
    EXPECT_EQ(many.synchronizations - few.synchronizations, 10 * 2);
    EXPECT_EQ(few.releases, few.allocations);
  }
}

TEST(CudaReplicas, OneReplicaEvaluatesWhatAllHaveTrained) {
  const std::string stage = compiled("shards", kClassifier, "--stages 2 --data-parallel 2", zero(3));
  EvaluateOptions options;
  options.stage = stage;
  options.data = "synthetic";
  options.threads = 1;
  options.watchdogSeconds = 0;
  const auto onHost = evaluate(options);
  ASSERT_TRUE(onHost) << onHost.error().text();
  EmulatedGpu gpu;
  options.target = "cuda";
  options.openDevice = [&](int, int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
  const auto onDevice = evaluate(options);
  ASSERT_TRUE(onDevice) << onDevice.error().text();
  EXPECT_NEAR(*onDevice->loss, *onHost->loss, 1e-5);
  EXPECT_EQ(*onDevice->accuracy, *onHost->accuracy);
  EXPECT_EQ(onDevice->weightsSha256, onHost->weightsSha256);
  // Beside the plan, sums of the longest bias of each stage.
  EXPECT_EQ(onDevice->allocatedBytes, onDevice->plannedBytes + (24 + 17) * sizeof(float));
}

/// Between steps the other replicas take part: they have parts of the weights. The next step goes on as if
/// nothing had been.
TEST(CudaReplicas, ReplicasEvaluateBetweenSteps) {
  const std::string stage = compiled("between", kClassifier, "--stages 2 --data-parallel 2", zero(3));
  const auto run = [&](EmulatedGpu *gpu, bool evaluates) -> std::pair<std::string, double> {
    auto file = Executable::load(stage, gpu ? "cuda" : "host");
    EngineOptions options = optionsOf(stage, 1);
    if (gpu) {
      options.target = "cuda";
      options.openDevice = [gpu](int, int) -> Result<std::unique_ptr<cuda::Api>> { return gpu->api(); };
    }
    auto engine = BatchEngine::open(std::make_shared<const Executable>(std::move(*file)), options);
    if (!engine) {
      return {engine.error().text(), 0};
    }
    double loss = 0;
    for (int step = 0; step < 3; ++step) {
      EXPECT_TRUE((*engine)->trainBatch());
      if (evaluates) {
        const auto evaluated = (*engine)->evaluateBatch(12);
        EXPECT_TRUE(evaluated) << evaluated.error().text();
        loss = evaluated ? evaluated->loss : 0;
      }
    }
    const auto hashes = (*engine)->hashes();
    return {hashes ? hashes->state : hashes.error().text(), loss};
  };
  EmulatedGpu without, with;
  const auto expected = run(&without, false), found = run(&with, true), onHost = run(nullptr, true);
  EXPECT_EQ(found.first, expected.first);
  EXPECT_EQ(found.first.size(), 64u) << found.first;
  EXPECT_NEAR(found.second, onHost.second, 1e-5 * onHost.second);
  EXPECT_TRUE(with.races().empty()) << with.races()[0];
}

/// (t0 + t1) + t2 rounds otherwise than any other order of these.
TEST(CudaReplicas, SumsAreInTheOrderOfReplicas) {
  EmulatedGpu gpu;
  const auto api = gpu.api();
  const auto stream = api->createStream();
  const auto function = api->function("ordered_sum_f32");
  ASSERT_TRUE(stream && function);
  constexpr int kElements = 1000, kStride = 1008, kTerms = 3;
  std::vector<float> terms[kTerms];
  for (int i = 0; i < kElements; ++i) {
    for (int k = 0; k < kTerms; ++k) {
      terms[k].push_back(
          std::ldexp(1.0f + static_cast<float>((i * 7 + k * 13) % 97) / 128, (i + k * 11) % 30) *
          ((i + k) % 2 ? 1.0f : -1.0f));
    }
  }
  for (int position = 0; position < kTerms; ++position) {
    for (const bool accumulates : {false, true}) {
      std::vector<float> others((kTerms - 1) * kStride), shard(kElements, 0.5f);
      std::vector<float> own = terms[position];
      for (int k = 0, place = 0; k < kTerms; ++k) {
        if (k != position) {
          std::ranges::copy(terms[k], others.begin() + kStride * place++);
        }
      }
      const OrderedSumArguments arguments{own.data(), others.data(), accumulates ? shard.data() : own.data(),
                                          kElements,  kStride,       kTerms,
                                          position,   accumulates,   1};
      ASSERT_TRUE(api->launch({.function = *function,
                               .grid = {2, 1, 1},
                               .threads = 64,
                               .arguments = &arguments,
                               .argumentBytes = sizeof arguments},
                              *stream));
      ASSERT_TRUE(api->synchronize(*stream));
      for (std::size_t i = 0; i < kElements; ++i) {
        const float sum = (terms[0][i] + terms[1][i]) + terms[2][i];
        EXPECT_EQ(accumulates ? shard[i] : own[i], accumulates ? 0.5f + sum : sum) << position << " " << i;
      }
    }
  }
  api->destroy(*stream);
}

} // namespace
} // namespace stagewright::runtime
