// Weights that are rounded by chance, on an emulated GPU.
#include "CudaRuns.h"
#include "runtime/train/BatchEngine.h"

namespace stagewright::runtime {
namespace {

const std::string kRounded = R"("stagewright": {"stochastic_rounding": true}, )";
const std::string kHalves[] = {R"("bf16": {"enabled": true}, )", R"("fp16": {"enabled": true}, )"};

TEST(CudaRounding, NoPlanChangesABit) {
  for (const std::string &precision : kHalves) {
    const std::string plain = compiled("nearest", kClassifier, "--stages 2", precision),
                      chosen = compiled("rounded", kClassifier, "--stages 2", kRounded + precision);
    const auto onHost = train(optionsOf(chosen, 3));
    ASSERT_TRUE(onHost) << onHost.error().text();
    EmulatedGpu toNearest, rounded;
    const auto nearest = trainOn(toNearest, plain, 3), found = trainOn(rounded, chosen, 3);
    ASSERT_TRUE(nearest && found) << found.error().text();
    EXPECT_NE(found->losses[0], nearest->losses[0]); // of equal initial weights
    for (std::size_t step = 0; step < 3; ++step) {
      EXPECT_NEAR(found->losses[step], onHost->losses[step], 0.02 * onHost->losses[step]);
    }
    EXPECT_TRUE(rounded.races().empty()) << rounded.races()[0];
    for (const char *arguments : {"--stages 1", "--stages 4 --schedule zb-h1"}) {
      EmulatedGpu gpu;
      EXPECT_EQ(hashOn(gpu, compiled("rounded_else", kClassifier, arguments, kRounded + precision), 3),
                found->stateSha256)
          << arguments;
    }
  }
}

TEST(CudaRounding, ReplicasHaveTheSameWeights) {
  std::string expected;
  for (const char *zero : {R"("zero_optimization": {"stage": 0}, )", R"("zero_optimization": {"stage": 1}, )",
                           R"("zero_optimization": {"stage": 3}, )"}) {
    EmulatedGpu gpu;
    const std::string found = hashOn(gpu,
                                     compiled("rounded_replicas", kClassifier, "--stages 2 --data-parallel 2",
                                              kRounded + kHalves[0] + zero),
                                     3);
    expected = expected.empty() ? found : expected;
    EXPECT_EQ(found, expected) << zero;
    EXPECT_EQ(found.size(), 64u) << found;
    EXPECT_TRUE(gpu.races().empty()) << gpu.races()[0];
  }
}

/// Between steps the device has drawn last; the weights are evaluated as by a file that never draws, and the
/// next step goes on as if nothing had been.
TEST(CudaRounding, EvaluationRoundsToTheNearest) {
  for (const int zero : {0, 3}) {
    const std::string more = R"("zero_optimization": {"stage": )" + std::to_string(zero) + "}, " + kHalves[0],
                      arguments = "--stages 2 --data-parallel 2",
                      plain = compiled("evaluated", kClassifier, arguments, more),
                      chosen = compiled("evaluated_rounded", kClassifier, arguments, kRounded + more),
                      weights = temporaryFile("cuda_rounding.safetensors");
    const auto open = [&](const std::string &stage, EmulatedGpu &gpu) {
      auto file = Executable::load(stage, "cuda");
      EngineOptions options = optionsOf(stage, 1);
      options.target = "cuda";
      options.openDevice = [&](int, int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
      return BatchEngine::open(std::make_shared<const Executable>(std::move(*file)), options);
    };
    EmulatedGpu one, two, three;
    auto drawing = open(chosen, one), nearest = open(plain, two), undisturbed = open(chosen, three);
    ASSERT_TRUE(drawing && nearest && undisturbed);
    for (int step = 0; step < 2; ++step) {
      ASSERT_TRUE((*drawing)->trainBatch() && (*drawing)->saveWeights(weights));
      ASSERT_TRUE((*undisturbed)->trainBatch() && (*nearest)->loadWeights(weights));
      const auto found = (*drawing)->evaluateBatch(12), expected = (*nearest)->evaluateBatch(12);
      ASSERT_TRUE(found && expected);
      EXPECT_EQ(found->loss, expected->loss);
    }
    EXPECT_EQ((*drawing)->hashes()->state, (*undisturbed)->hashes()->state);
  }
}

} // namespace
} // namespace stagewright::runtime
