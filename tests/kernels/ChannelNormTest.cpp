// Channel normalisation: PyTorch's numbers, and sums that do not depend on the grouping of micro-batches.
#include "GoldenCalls.h"

namespace stagewright::kernels {

namespace {

#include "ChannelNormGoldens.inc"

TEST(ChannelNorm, FollowsTorch) {
  for (const GoldenCall &golden : kCalls)
    expectGolden(golden, 2e-6);
}

/// Gradients that are added to, sample by sample, equal those of one call on all samples.
TEST(ChannelNorm, GradientsDoNotDependOnTheGroupingOfMicroBatches) {
  setFlushToZero();
  const std::int64_t samples = 7, channels = 6;
  for (const char *kernel : {"channel_bias_grad", "batch_norm_weight_grad", "group_norm_weight_grad"})
    for (std::int64_t positions : {1, 9, 3000}) {
      const bool isGroup = std::string_view(kernel).starts_with("group");
      const std::int64_t rows = isGroup ? 2 : 0, statistics = isGroup ? samples * 2 : channels;
      const auto filled = [](std::int64_t elements) {
        Buffer out(catalogue::DType::F32, elements);
        for (std::int64_t i = 0; i < elements; ++i)
          out.set(i, 1.5 + std::sin(double(i) * 1.7 + double(elements)));
        return out;
      };
      Buffer g = filled(samples * channels * positions), x = filled(samples * channels * positions),
             mean = filled(statistics), spread = filled(statistics);
      const Buffer acc = filled(channels);
      const auto run = [&](std::int64_t first, std::int64_t n, Buffer &to, Isa isa) {
        const catalogue::Shape elements{n, channels, positions}, c{channels},
            statistic = isGroup ? catalogue::Shape{n, 2} : c;
        const bool isBias = std::string_view(kernel) == "channel_bias_grad";
        const auto prepared = prepare(
            {catalogue::find(kernel, 1),
             isBias ? std::vector{elements, c} : std::vector{elements, elements, statistic, statistic, c},
             {}},
            isa);
        ASSERT_TRUE(prepared) << prepared.error().text();
        const std::int64_t offset = first * channels * positions;
        SerialTileRunner runner;
        void *const all[] = {g.as<float>() + offset, x.as<float>() + offset, mean.as<float>() + first * rows,
                             spread.as<float>() + first * rows, to.data()};
        void *const bias[] = {all[0], to.data()};
        (*prepared)->run(isBias ? bias : all, nullptr, runner);
      };
      for (Isa isa : supportedIsas()) {
        Buffer together = acc, apart = acc;
        run(0, samples, together, isa);
        run(0, 1, apart, isa);
        run(1, 4, apart, isa);
        run(5, 2, apart, isa);
        EXPECT_TRUE(apart.sameBits(together)) << kernel << " " << positions << " on " << name(isa);
        EXPECT_FALSE(apart.sameBits(acc));
      }
    }
}

/// A mean far from zero costs no digits of the variance.
TEST(ChannelNorm, LargeMeansKeepTheVariance) {
  setFlushToZero();
  for (std::int64_t positions : {1, 50}) {
    KernelCase one{
        {catalogue::find("batch_norm", 1), {{4, 3, positions}, {4, 3, positions}, {3}, {3}}, {}}, {}, 0, 0};
    for (const catalogue::Shape &shape : one.instance.shapes)
      one.operands.emplace_back(catalogue::DType::F32, catalogue::elements(shape));
    for (std::int64_t i = 0; i < one.operands[0].elements; ++i)
      one.operands[0].set(i, 4096.0 + (i / positions / 3 % 2 ? 0.5 : -0.5));
    SerialTileRunner runner;
    const std::vector<Buffer> results = runCase(one, bestIsa(), runner);
    EXPECT_EQ(results[2].values(), std::vector<double>(3, 4096.0));
    EXPECT_EQ(results[3].values(), std::vector<double>(3, 0.25));
  }
}

/// Runs a kernel on operands of these shapes whose contents, where given, are `contents`.
std::vector<Buffer> results(const char *kernel, std::vector<catalogue::Shape> shapes,
                            const std::vector<std::vector<double>> &contents, Isa isa) {
  KernelCase one{{catalogue::find(kernel, 1), std::move(shapes), {}}, {}, 0, 0};
  for (std::size_t i = 0; i < one.instance.shapes.size(); ++i) {
    Buffer &buffer =
        one.operands.emplace_back(catalogue::DType::F32, catalogue::elements(one.instance.shapes[i]));
    for (std::size_t k = 0; k < contents[i].size(); ++k)
      buffer.set(std::int64_t(k), contents[i][k]);
  }
  SerialTileRunner runner;
  return runCase(one, isa, runner);
}

std::vector<double> waves(std::int64_t elements, double phase) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < elements; ++i)
    out.push_back(1.5 + std::sin(double(i) * 1.7 + phase));
  return out;
}

TEST(ChannelNorm, SyncOfOneReplicaHasTheBitsOfBatchNorm) {
  setFlushToZero();
  for (std::int64_t positions : {1, 9, 3000})
    for (Isa isa : supportedIsas()) {
      const catalogue::Shape xs{5, 6, positions}, c{6}, rows{2, 6}, gathered{1, 2, 6};
      const auto x = waves(30 * positions, 1), g = waves(30 * positions, 2), weight = waves(6, 3),
                 bias = waves(6, 4);
      const auto plain = results("batch_norm", {xs, xs, c, c, c, c}, {x, {}, {}, {}, weight, bias}, isa);
      const auto moments = results("channel_moments", {xs, rows}, {x, {}}, isa)[1].values();
      const auto sync = results("sync_batch_norm", {xs, gathered, xs, c, c, c, c},
                                {x, moments, {}, {}, {}, weight, bias}, isa);
      for (std::size_t i : {1u, 2u, 3u})
        EXPECT_TRUE(sync[i + 1].sameBits(plain[i])) << positions << " operand " << i << " on " << name(isa);
      const auto mean = plain[2].values(), variance = plain[3].values();
      const auto means =
          results("channel_gradient_means", {xs, xs, c, rows}, {g, x, mean, {}}, isa)[3].values();
      const auto plainGrad =
          results("batch_norm_grad", {xs, xs, c, c, xs, c}, {g, x, mean, variance, {}, weight}, isa);
      const auto syncGrad = results("sync_batch_norm_grad", {xs, xs, c, c, gathered, xs, c},
                                    {g, x, mean, variance, means, {}, weight}, isa);
      EXPECT_TRUE(syncGrad[5].sameBits(plainGrad[4])) << positions << " on " << name(isa);
    }
}

/// Variances of replicas whose means lie far from zero and apart: 0.25 within a replica, 0.25 between them.
TEST(ChannelNorm, LargeMeansKeepTheVarianceOfReplicas) {
  setFlushToZero();
  for (Isa isa : supportedIsas()) {
    const auto out = results("sync_batch_norm", {{2, 1, 1}, {2, 2, 1}, {2, 1, 1}, {1}, {1}},
                             {{4096, 4095}, {4095.5, 0.25, 4096.5, 0.25}, {}, {}, {}}, isa);
    EXPECT_EQ(out[3].values(), std::vector<double>{4096});
    EXPECT_EQ(out[4].values(), std::vector<double>{0.5});
  }
}

TEST(ChannelNorm, CallsThatTheRulesRefuse) {
  const auto refusal = [](const char *kernel, std::vector<catalogue::Shape> shapes,
                          std::vector<catalogue::Attribute> attributes) {
    const auto prepared =
        prepare({catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, bestIsa());
    return prepared ? std::string() : prepared.error().what;
  };
  const catalogue::Shape x{2, 6, 3}, c{6}, four{2, 4};
  const std::string groups = "6 channels cannot be cut into 4 groups of one size";
  EXPECT_EQ(refusal("group_norm", {x, x, four, four}, {}), groups);
  EXPECT_EQ(refusal("group_norm_grad", {x, x, four, four, x}, {}), groups);
  EXPECT_EQ(refusal("group_norm_weight_grad", {x, x, four, four, c}, {}), groups);
  EXPECT_EQ(refusal("group_norm", {x, x, {2, 3}, {2, 3}}, {}), "");
  EXPECT_EQ(refusal("batch_norm_update", {c, c, c, c, {1}}, {{"count", std::int64_t(1)}}),
            "count, the number of elements per channel, must be at least 2");
  EXPECT_NE(refusal("sync_batch_norm", {x, {3, 6}, x, c, c}, {}), "");
  EXPECT_NE(refusal("sync_batch_norm_grad", {x, x, c, c, {3, 2, 5}, x}, {}), "");
}

} // namespace

} // namespace stagewright::kernels
