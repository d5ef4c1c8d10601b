// States and weights in pinned memory of the host, on an emulated GPU: the bits are those of a run that keeps
// them on the device, whichever stream runs ahead, and a wait that is left out shows.
#include "CudaRuns.h"
#include "kernels/cuda/Cuda.h"
#include "kernels/host/Host.h"
#include "runtime/train/BatchEngine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

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

/// Beside the plan there are sums of the longest bias of each stage, less than a page; of what is offloaded
/// nothing.
void expectThePlannedBytes(std::uint64_t planned, std::uint64_t allocated) {
  EXPECT_GE(allocated, planned);
  EXPECT_LT(allocated, planned + 4096);
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
    if (precision.find("fp16") != std::string::npos) { // steps have been skipped
      EXPECT_LT(found->lossScale, float(1 << 24)) << where;
    }
    if (replicas == 1) { // several have a chunk of sums beside the plan
      expectThePlannedBytes(found->plannedBytes, found->allocatedBytes);
    }
    EXPECT_TRUE(gpu.races().empty()) << where << ": " << gpu.races()[0];
    // Where the host has all states of a chunk, and the rule's sums have no order of their own.
    const bool updatesOnHost = plan.settings.find("offload_optimizer") != std::string::npos &&
                               rule.find("Lamb") == std::string::npos;
    EXPECT_EQ(gpu.counts().hostCalls > 0, updatesOnHost) << where;
  }
}

/// On the calling thread.
class OneByOne final : public kernels::TileRunner {
public:
  void run(int tiles, void (*tile)(void *, int, int), void *context) override {
    for (int i = 0; i < tiles; ++i) {
      tile(context, i, 0);
    }
  }
  void *scratch(int) override { return nullptr; }
};

struct Rule {
  const char *kernel;
  std::vector<catalogue::Attribute> attributes;
};

/// One call's operands in the catalogue's order, optional ones that are no state left out.
struct Operands {
  kernels::KernelInstance instance;
  std::vector<std::vector<std::byte>> memory;

  std::vector<void *> addresses() {
    std::vector<void *> all;
    for (auto &operand : memory) {
      all.push_back(operand.data());
    }
    all.resize(instance.kernel->operands.size());
    return all;
  }
};

/// Values of all magnitudes, also ones that are not normal.
Operands operandsOf(const Rule &rule, float coefficient, std::int32_t step) {
  constexpr std::int64_t kElements = 40000 + 7; // three granules, and a remainder
  Operands operands{{catalogue::find(rule.kernel, 1), {}, rule.attributes}, {}};
  std::mt19937 random(11);
  std::uniform_real_distribution<float> mantissa(1, 2);
  std::uniform_int_distribution<int> exponent(-148, 3);
  const auto add = [&](const catalogue::Shape &shape, const void *values, std::size_t bytes) {
    operands.instance.shapes.push_back(shape);
    operands.memory.emplace_back(bytes);
    std::memcpy(operands.memory.back().data(), values, bytes);
  };
  for (const catalogue::OperandRule &operand : operands.instance.kernel->operands) {
    const std::string_view name = operand.name;
    const double rate = 0.013, corrections[] = {1 - std::pow(0.9, step), 1 - std::pow(0.999, step)};
    if (name == "first_beta") {
      continue;
    }
    if (name == "learning_rate") {
      add({1}, &rate, sizeof rate);
    } else if (name == "coefficient") {
      add({1}, &coefficient, sizeof coefficient);
    } else if (name == "step") {
      add({1}, &step, sizeof step);
    } else if (name == "bias_corrections") {
      add({2}, corrections, sizeof corrections);
    } else {
      std::vector<float> values(kElements);
      for (float &value : values) {
        const bool isNegative = name != "exp_avg_sq" && name != "sum" && random() % 2;
        value = std::ldexp(mantissa(random), exponent(random)) * (isNegative ? -1.0f : 1.0f);
      }
      add({kElements}, values.data(), values.size() * sizeof(float));
    }
  }
  return operands;
}

/// What updates on the host rest on: the host's kernels, with subnormal numbers, have the device's bits. The
/// emulated GPU computes the device's source in IEEE arithmetic, unfused as nvcc's.
TEST(CudaOffload, RulesHaveTheBitsOfTheDevice) {
  const auto one = std::int64_t(1);
  const std::vector<Rule> rules = {{"sgd", {{"momentum", 0.0}}},
                                   {"sgd", {{"momentum", 0.9}, {"dampening", 0.1}, {"weight_decay", 0.01}}},
                                   {"sgd", {{"momentum", 0.9}, {"nesterov", one}, {"weight_decay", 0.01}}},
                                   {"adam", {{"weight_decay", 0.01}, {"decoupled", std::int64_t(0)}}},
                                   {"adam", {{"weight_decay", 0.01}, {"decoupled", one}, {"epsilon", 1e-6}}},
                                   {"lion", {{"weight_decay", 0.01}}},
                                   {"adagrad", {{"weight_decay", 0.01}, {"lr_decay", 0.1}}}};
  EmulatedGpu gpu;
  const auto api = gpu.api();
  const auto stream = api->createStream();
  cuda::KernelCache cache(*api);
  int looked = 0;
  for (const Rule &rule : rules) {
    for (const float coefficient : {0.37f, 1e-30f, std::numeric_limits<float>::quiet_NaN()}) {
      for (const std::int32_t step : {1, 5}) {
        Operands onDevice = operandsOf(rule, coefficient, step);
        auto prepared = cuda::prepare(onDevice.instance, cache);
        ASSERT_TRUE(prepared) << prepared.error().text();
        ASSERT_TRUE((*prepared)->enqueue(onDevice.addresses().data(), nullptr, *stream));
        ASSERT_TRUE(api->synchronize(*stream));
        for (const kernels::Isa isa : {kernels::Isa::Portable, kernels::Isa::Avx2, kernels::Isa::Avx512}) {
          if (!kernels::isSupported(isa)) {
            continue;
          }
          Operands onHost = operandsOf(rule, coefficient, step);
          auto own = kernels::prepare(onHost.instance, isa);
          ASSERT_TRUE(own) << own.error().text();
          {
            const kernels::KeepSubnormals asBefore;
            kernels::setFlushToZero(); // as the ranks' threads
            const kernels::KeepSubnormals asOnGpus;
            OneByOne tiles;
            (*own)->run(onHost.addresses().data(), nullptr, tiles);
          }
          for (std::size_t i = 0; i < onHost.memory.size(); ++i) {
            const auto [a, b] = std::ranges::mismatch(onHost.memory[i], onDevice.memory[i]);
            EXPECT_TRUE(a == onHost.memory[i].end())
                << rule.kernel << " " << coefficient << ", step " << step << ": operand " << i << ", byte "
                << a - onHost.memory[i].begin();
          }
          ++looked;
        }
      }
    }
  }
  EXPECT_GE(looked, 7 * 3 * 2);
  api->destroy(*stream);
}

/// A parameter of two chunks, whose tiles several threads update; gradients so small that they are not
/// normal.
TEST(CudaOffload, ManyChunksAndSmallNumbers) {
  constexpr const char *kWide = R"({
    "name": "wide",
    "inputs": [{"name": "x", "role": "feature", "dtype": "f32", "shape": [13]},
               {"name": "label", "role": "label", "dtype": "i32", "shape": []}],
    "layers": [{"type": "Linear", "name": "a", "in_features": 13, "out_features": 520},
               {"type": "ReLU", "name": "ra"},
               {"type": "Linear", "name": "b", "in_features": 520, "out_features": 600},
               {"type": "ReLU", "name": "rb"},
               {"type": "Linear", "name": "c", "in_features": 600, "out_features": 5}],
    "loss": {"type": "CrossEntropyLoss"}})";
  const auto fileOf = [&](const std::string &settings) {
    return compiled("offload_wide", kWide, "--data-parallel 1", settings, 6,
                    optimizer("SGD", R"(, "momentum": 0.9)"), "1e-37");
  };
  EmulatedGpu plain;
  const std::string expected = hashOn(plain, fileOf(zero(0)));
  EXPECT_EQ(expected.size(), 64u) << expected;
  for (const std::string &settings : {zero(1, toHost()), zero(3, toHost() + kWeightsToHost)}) {
    EmulatedGpu gpu;
    TrainOptions options = optionsOf(fileOf(settings), 2);
    options.threads = 2;
    options.target = "cuda";
    options.openDevice = [&](int, int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
    const auto trained = train(options);
    ASSERT_TRUE(trained) << trained.error().text();
    EXPECT_EQ(trained->stateSha256, expected) << settings;
    EXPECT_EQ(gpu.counts().hostCalls, 2 * 7) << settings; // six parameters, one of them in two chunks
    EXPECT_TRUE(gpu.races().empty()) << gpu.races()[0];
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
    expectThePlannedBytes(trained->plannedBytes, trained->allocatedBytes);
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
  options.openDevice = [&](int, int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
  const auto onDevice = evaluate(options);
  ASSERT_TRUE(onDevice) << onDevice.error().text();
  EXPECT_NEAR(*onDevice->loss, *onHost->loss, 1e-5);
  EXPECT_EQ(*onDevice->accuracy, *onHost->accuracy);
  EXPECT_EQ(onDevice->weightsSha256, onHost->weightsSha256);
  expectThePlannedBytes(onDevice->plannedBytes, onDevice->allocatedBytes);
}

/// What evaluates and copies weights between steps leaves the next one as it was.
TEST(CudaOffload, HashesAndEvaluationBetweenSteps) {
  const auto run = [](const std::string &settings, bool stops) -> std::string {
    const std::string stage =
        compiled("offload_between", kClassifier, "--stages 2 --data-parallel 2", settings);
    EmulatedGpu gpu;
    auto file = Executable::load(stage, "cuda");
    EngineOptions options = optionsOf(stage, 1);
    options.target = "cuda";
    options.openDevice = [&](int, int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
    auto engine = BatchEngine::open(std::make_shared<const Executable>(std::move(*file)), options);
    if (!engine) {
      return engine.error().text();
    }
    for (int step = 0; step < 3; ++step) {
      EXPECT_TRUE((*engine)->trainBatch());
      if (stops) {
        EXPECT_TRUE((*engine)->hashes());
        EXPECT_TRUE((*engine)->evaluateBatch(12));
      }
    }
    const auto hashes = (*engine)->hashes();
    EXPECT_TRUE(gpu.races().empty()) << gpu.races()[0];
    return hashes ? hashes->state : hashes.error().text();
  };
  const std::string expected = run(zero(0), false);
  EXPECT_EQ(expected.size(), 64u) << expected;
  EXPECT_EQ(run(zero(1, toHost()), true), expected);
  EXPECT_EQ(run(zero(3, toHost() + kWeightsToHost), true), expected);
}

/// States alone: weights would have to be sent from memory of the host.
TEST(CudaOffload, RanksWhoseMessagesGoByNccl) {
  const std::string stage =
      compiled("offload_nccl", kClassifier, "--stages 2 --data-parallel 2", zero(2, toHost()));
  EmulatedGpu copies, gpu;
  const std::string expected = hashOn(copies, stage);
  const auto trained = train(byNccl(gpu, stage, 2));
  ASSERT_TRUE(trained) << trained.error().text();
  EXPECT_EQ(trained->stateSha256, expected);
  EXPECT_GT(gpu.counts().hostCalls, 0);
  EXPECT_TRUE(gpu.races().empty()) << gpu.races()[0];
}

} // namespace
} // namespace stagewright::runtime
