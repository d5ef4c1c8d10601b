// States and weights in pinned memory of the host, on an emulated GPU: the bits are those of a run that keeps
// them on the device, whichever stream runs ahead, and a wait that is left out shows.
#include "CudaRuns.h"

namespace stagewright::runtime {
namespace {

/// More settings of zero(): where states and weights are.
std::string toHost(double ratio = 1) {
  return R"(, "offload_optimizer": {"device": "cpu", "ratio": )" + std::to_string(ratio) + "}";
}
const std::string kWeightsToHost = R"(, "offload_param": {"device": "cpu"})";

std::string optimizer(const std::string &type, const std::string &more = "") {
  return R"({"type": ")" + type + R"(", "params": {"lr": 0.01)" + more + "}}";
}

struct OffloadPlan {
  std::string arguments, settings;
};

/// All of one result contract for as many replicas.
std::vector<OffloadPlan> offloadPlans() {
  return {{"--stages 1", zero(1, toHost())},
          {"--stages 2", zero(1, toHost(0.5))},
          {"--stages 2 --schedule zb-h1", zero(2, toHost())},
          {"--stages 1", zero(3, toHost())},
          {"--stages 2", zero(3, kWeightsToHost)},
          {"--stages 1", zero(3, toHost() + kWeightsToHost)},
          {"--stages 2 --schedule gpipe",
           zero(3, toHost(0.5) + kWeightsToHost, R"("offload_param_ratio": 0.5, "gather_weights": "block")")},
          {"--stages 2", zero(3, toHost() + kWeightsToHost, R"("gather_weights": "visit")")}};
}

/// The hash of weights and states, and losses, of what stays on the device; then of all plans.
void expectTheBitsOfTheDevice(const std::string &name, const char *model, int replicas,
                              const std::string &precision, const std::string &rule,
                              const std::vector<OffloadPlan> &plans, std::uint64_t steps = 3) {
  const auto fileOf = [&](const OffloadPlan &plan) {
    return compiled("offload_" + name, model, plan.arguments + " --data-parallel " + std::to_string(replicas),
                    plan.settings + precision, 12, rule);
  };
  EmulatedGpu plain;
  const auto expected = trainOn(plain, fileOf({"--stages 1", zero(0)}), steps);
  ASSERT_TRUE(expected) << expected.error().text();
  for (const OffloadPlan &plan : plans) {
    const std::string where = name + " " + plan.arguments + " " + plan.settings + precision + rule;
    EmulatedGpu gpu;
    const auto found = trainOn(gpu, fileOf(plan), steps);
    ASSERT_TRUE(found) << where << found.error().text();
    EXPECT_EQ(found->stateSha256, expected->stateSha256) << where;
    EXPECT_EQ(found->losses, expected->losses) << where;
    EXPECT_EQ(found->lossScale, expected->lossScale) << where;
    if (replicas == 1) { // several have a chunk of sums beside the plan
      EXPECT_EQ(found->plannedBytes, found->allocatedBytes) << where;
    }
    EXPECT_TRUE(gpu.races().empty()) << where << ": " << gpu.races()[0];
  }
}

TEST(CudaOffload, BitsAreThoseOfTheDevice) {
  for (const int replicas : {1, 2}) {
    expectTheBitsOfTheDevice("plans", kClassifier, replicas, "", optimizer("Adam"), offloadPlans());
  }
}

TEST(CudaOffload, EveryOptimizer) {
  const std::vector<OffloadPlan> plans = {{"--stages 2", zero(1, toHost(0.5))},
                                          {"--stages 1", zero(3, toHost() + kWeightsToHost)}};
  for (const std::string &rule :
       {optimizer("Adam", R"(, "weight_decay": 0.1)"), optimizer("AdamW", R"(, "weight_decay": 0.1)"),
        optimizer("SGD", R"(, "momentum": 0.9)"),
        optimizer("SGD", R"(, "momentum": 0.9, "nesterov": true, "weight_decay": 0.1)"),
        optimizer("Lion", R"(, "weight_decay": 0.1)"), optimizer("Adagrad", R"(, "weight_decay": 0.1)"),
        optimizer("Lamb", R"(, "weight_decay": 0.1)")}) {
    expectTheBitsOfTheDevice("rules", kClassifier, 2, "", rule, plans);
  }
}

TEST(CudaOffload, SixteenBits) {
  const std::vector<OffloadPlan> plans = {{"--stages 2", zero(1, toHost())},
                                          {"--stages 1", zero(3, toHost(0.5) + kWeightsToHost)}};
  for (const std::string &rule : {optimizer("AdamW"), optimizer("Lamb")}) {
    expectTheBitsOfTheDevice("bf16", kClassifier, 2, R"("bf16": {"enabled": true}, )", rule, plans);
    // Such a scale overflows: steps are skipped until it fits.
    expectTheBitsOfTheDevice("fp16", kClassifier, 2,
                             R"("fp16": {"enabled": true, "initial_scale_power": 24, "hysteresis": 1}, )",
                             rule, plans, 12);
  }
}

/// Sums and weights of tied parameters travel between stages, from and to memory of the host.
TEST(CudaOffload, TiedParameters) {
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
  const std::vector<OffloadPlan> plans = {
      {"--stages 2", zero(1, toHost())}, {"--stages 2 --schedule zb-h1", zero(3, toHost() + kWeightsToHost)}};
  for (const int replicas : {1, 2}) {
    expectTheBitsOfTheDevice("tied", kTied, replicas, "", optimizer("AdamW"), plans);
  }
}

/// Of each kind of update: on the host, and on the device for the rule whose sums differ there.
TEST(CudaOffload, BitsDoNotDependOnWhichStreamRunsAhead) {
  for (const std::string &rule : {optimizer("Adam"), optimizer("Lamb")}) {
    const std::string stage = compiled("offload_ahead", kClassifier, "--stages 2 --data-parallel 2",
                                       zero(3, toHost(0.5) + kWeightsToHost), 12, rule);
    EmulatedGpu asGiven;
    const std::string expected = hashOn(asGiven, stage);
    EXPECT_EQ(expected.size(), 64u) << expected;
    const std::size_t streams = asGiven.waitsOfStreams().size();
    EXPECT_GT(streams, 4u * 4u);
    for (const auto kind : {EmulatedGpu::Policy::Prefer, EmulatedGpu::Policy::Avoid}) {
      for (unsigned stream = 0; stream < streams; ++stream) {
        EmulatedGpu gpu;
        gpu.policy = {kind, stream};
        EXPECT_EQ(hashOn(gpu, stage), expected) << rule << stream;
      }
    }
  }
}

/// What the host reads behind the last step is no work of a stream, but it is too early when a stream that
/// nobody has waited for is late.
bool changesResults(EmulatedGpu::Wait omitted, const std::string &stage, const std::string &expected) {
  constexpr unsigned kStreams = 8;
  for (unsigned late = 0; late < kStreams; ++late) {
    EmulatedGpu gpu;
    gpu.policy = {EmulatedGpu::Policy::Avoid, late};
    gpu.omittedWait = omitted;
    if (hashOn(gpu, stage) != expected) {
      return true;
    }
  }
  return false;
}

TEST(CudaOffload, EveryWaitIsNeeded) {
  for (const std::string &rule : {optimizer("Adam"), optimizer("Lamb")}) {
    const std::string stage =
        compiled("offload_waits", kClassifier, "--stages 1", zero(1, toHost()), 12, rule);
    EmulatedGpu whole;
    const std::string expected = hashOn(whole, stage);
    ASSERT_EQ(expected.size(), 64u);
    ASSERT_TRUE(whole.races().empty()) << whole.races()[0];
    const std::vector<std::uint64_t> waits = whole.waitsOfStreams();
    int looked = 0;
    for (unsigned stream = 0; stream < waits.size(); ++stream) {
      for (std::uint64_t number = 0; number < waits[stream]; ++number) {
        EmulatedGpu gpu;
        gpu.computes = false;
        gpu.omittedWait = EmulatedGpu::Wait{stream, number};
        (void)hashOn(gpu, stage);
        EXPECT_TRUE(!gpu.races().empty() || changesResults({stream, number}, stage, expected))
            << rule << " wait " << number << " of stream " << stream << " of " << waits[stream];
        ++looked;
      }
    }
    EXPECT_GE(looked, 30) << rule;
  }
}

TEST(CudaOffload, AStepAllocatesNothingCapturesNothingAndWaitsOnce) {
  for (const std::string &rule : {optimizer("Adam"), optimizer("Lamb")}) {
    const std::string file = compiled("offload_steady", kClassifier, "--data-parallel 2",
                                      zero(3, toHost() + kWeightsToHost), 12, rule);
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

/// What leaves the device, and what of the device stays as planned.
TEST(CudaOffload, DeviceHasThePlannedBytes) {
  const auto bytesOf = [](const std::string &name, const std::string &settings) {
    EmulatedGpu gpu;
    const auto trained = trainOn(gpu, compiled(name, kClassifier, "--stages 2", settings), 1);
    EXPECT_TRUE(trained && trained->device) << trained.error().text();
    EXPECT_EQ(trained->plannedBytes, trained->allocatedBytes);
    return std::pair(trained->plannedBytes, trained->device->bytes);
  };
  const auto [plannedHere, usedHere] = bytesOf("offload_bytes0", zero(3));
  const auto [planned, used] = bytesOf("offload_bytes1", zero(3, toHost() + kWeightsToHost));
  EXPECT_EQ(static_cast<std::int64_t>(used - usedHere), static_cast<std::int64_t>(planned - plannedHere));
}

/// One replica has the shards of all, in memory of the host.
TEST(CudaOffload, OneReplicaEvaluatesShardsOfTheHost) {
  const std::string stage = compiled("offload_shards", kClassifier, "--stages 2 --data-parallel 2",
                                     zero(3, toHost() + kWeightsToHost));
  EvaluateOptions options;
  options.stage = stage;
  options.data = "synthetic";
  options.threads = 1;
  options.watchdogSeconds = 0;
  const auto onHost = evaluate(options);
  ASSERT_TRUE(onHost) << onHost.error().text();
  EmulatedGpu gpu;
  options.target = "cuda";
  options.openDevice = [&](int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
  const auto onDevice = evaluate(options);
  ASSERT_TRUE(onDevice) << onDevice.error().text();
  EXPECT_NEAR(*onDevice->loss, *onHost->loss, 1e-5);
  EXPECT_EQ(*onDevice->accuracy, *onHost->accuracy);
  EXPECT_EQ(onDevice->weightsSha256, onHost->weightsSha256);
  EXPECT_EQ(onDevice->plannedBytes, onDevice->allocatedBytes);
}

} // namespace
} // namespace stagewright::runtime
