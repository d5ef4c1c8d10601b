// Every CUDA kernel on an emulated GPU: it computes what its reference computes, and its bits depend neither
// on the order of threads and blocks nor on working in place.
#include "CudaRuns.h"

#include <limits>

namespace stagewright::cuda {
namespace {

using emulation::EmulatedGpu;
using emulation::Order;
using kernels::Buffer;
using kernels::KernelCase;

std::vector<Buffer> runCase(const KernelCase &call, Order order,
                            std::optional<catalogue::InPlacePair> aliased = {},
                            unsigned mostBlocks = 0x7FFFFFFF) {
  EmulatedGpu gpu;
  gpu.order = order;
  gpu.mostBlocks = mostBlocks;
  const auto api = gpu.api();
  KernelCache cache(*api);
  return cuda::runCase(call, cache, aliased);
}

class CudaKernelTest : public testing::TestWithParam<const catalogue::Kernel *> {
protected:
  const std::vector<KernelCase> cases = kernels::casesOf(GetParam()->name, GetParam()->version);
};

INSTANTIATE_TEST_SUITE_P(Every, CudaKernelTest, testing::ValuesIn(cudaKernels()), [](const auto &info) {
  return std::string(info.param->name) + (info.param->version > 1 ? "_2" : "");
});

TEST_P(CudaKernelTest, MatchesReference) {
  for (const KernelCase &one : cases) {
    ASSERT_NO_FATAL_FAILURE(expectReference(one, runCase(one, Order::Ascending)));
  }
}

TEST_P(CudaKernelTest, BitsDependNeitherOnTheOrderOfThreadsNorOnWorkingInPlace) {
  for (const KernelCase &one : cases) {
    const std::vector<Buffer> expected = runCase(one, Order::Ascending);
    const std::vector<Buffer> results = runCase(one, Order::Descending);
    for (std::size_t operand = 0; operand < results.size(); ++operand) {
      ASSERT_TRUE(results[operand].sameBits(expected[operand])) << one.text() << " operand " << operand;
    }
    for (const catalogue::InPlacePair &pair : one.instance.kernel->inPlace) {
      const std::vector<Buffer> inPlace = runCase(one, Order::Descending, pair);
      ASSERT_TRUE(inPlace[std::size_t(pair.output)].sameBits(expected[std::size_t(pair.output)]))
          << one.text() << " in place";
    }
  }
}

/// Kernels of operations whose results IEEE 754 defines, in the host's order.
const std::vector<std::string> kLikeTheHost = {"relu",       "relu_grad",
                                               "tanh_grad",  "sigmoid_grad",
                                               "copy",       "add",
                                               "subtract",   "multiply",
                                               "divide",     "scale",
                                               "accumulate", "clear",
                                               "cast_to",    "cast_from",
                                               "permute",    "add_and_clear",
                                               "slice",      "slice_grad",
                                               "concat",     "expand",
                                               "dropout",    "cast_stochastic",
                                               "embedding",  "embedding_grad",
                                               "rotary",     "masked_mean_grad",
                                               "sgd",        "adam",
                                               "lion",       "adagrad"};

void expectBitsOfTheHost(const KernelCase &one, const std::string &what) {
  kernels::SerialTileRunner serial;
  const std::vector<Buffer> expected = kernels::runCase(one, kernels::supportedIsas().back(), serial);
  const std::vector<Buffer> results = runCase(one, Order::Ascending);
  for (std::size_t operand = 0; operand < results.size(); ++operand) {
    ASSERT_TRUE(results[operand].sameBits(expected[operand]))
        << one.text() << " " << what << ", operand " << operand;
  }
}

/// With values here and there that are no ordinary ones, and ids that are no rows.
KernelCase withSpecialValues(KernelCase one) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<double> reals = {NAN, kInfinity, -kInfinity, 0.0, -0.0, 1e-40, 65504, -3e38},
                            ids = {-1, -2147483648.0, 2147483647, 1 << 20};
  for (std::size_t i = 0; i < one.operands.size(); ++i) {
    Buffer &operand = one.operands[i];
    const auto &rule = one.instance.kernel->operands[i];
    const bool isReal = operand.dtype != catalogue::DType::I32 && operand.dtype != catalogue::DType::F64;
    const std::vector<double> &values = isReal ? reals : ids;
    if (rule.access == catalogue::Access::Write || operand.elements < 2 || (!isReal && rule.name != "ids")) {
      continue;
    }
    for (std::int64_t k = std::int64_t(i); k < operand.elements; k += 5) {
      operand.set(k, values[std::size_t(k / 5) % values.size()]);
    }
  }
  return one;
}

TEST(CudaKernels, GiveTheBitsOfTheHostWhereOperationsDefineThem) {
  for (const std::string &name : kLikeTheHost) {
    for (const KernelCase &one : kernels::casesOf(name)) {
      expectBitsOfTheHost(one, "");
      expectBitsOfTheHost(withSpecialValues(one), "with special values");
    }
  }
}

/// As calls do whose elements are more than a grid's threads.
TEST(CudaKernels, BlocksGoOnInStridesOfTheGrid) {
  for (const char *const name : {"relu",
                                 "accumulate",
                                 "permute",
                                 "slice_grad",
                                 "concat",
                                 "expand",
                                 "reduce_sum",
                                 "dropout",
                                 "cast_stochastic",
                                 "embedding",
                                 "embedding_grad",
                                 "rotary",
                                 "rotary_table",
                                 "masked_mean",
                                 "masked_mean_grad",
                                 "layer_norm",
                                 "rms_norm_grad",
                                 "layer_norm_weight_grad",
                                 "softmax_grad",
                                 "softmax_cross_entropy",
                                 "softmax_cross_entropy_grad",
                                 "vocabulary_cross_entropy",
                                 "mse_loss",
                                 "mse_loss_grad",
                                 "count_correct",
                                 "batch_norm",
                                 "batch_norm_grad",
                                 "channel_moments",
                                 "group_norm",
                                 "max_pool2d",
                                 "max_pool2d_grad",
                                 "avg_pool2d_grad",
                                 "adaptive_avg_pool2d",
                                 "attention",
                                 "attention_dropout_grad"}) {
    for (const KernelCase &one : kernels::casesOf(name)) {
      if (one.instance.element == catalogue::DType::F16) {
        continue; // as bf16
      }
      const std::vector<Buffer> expected = runCase(one, Order::Ascending);
      const std::vector<Buffer> results = runCase(one, Order::Descending, {}, 2);
      for (std::size_t operand = 0; operand < results.size(); ++operand) {
        ASSERT_TRUE(results[operand].sameBits(expected[operand])) << one.text() << " operand " << operand;
      }
    }
  }
}

TEST(CudaKernels, ACoefficientThatIsNoNumberSkipsTheStep) {
  for (const char *const name : {"sgd", "adam", "lion", "adagrad", "lamb"}) {
    for (KernelCase one : kernels::casesOf(name)) {
      one.operands[3].set(0, NAN);
      expectBitsOfTheHost(one, "with a coefficient that is no number");
    }
  }
}

TEST(CudaKernels, NormsThatAreNotFinite) {
  for (const double sum : {double(NAN), double(INFINITY), 1e300, 0.0}) {
    for (const std::int64_t skip : {0, 1}) {
      for (const double bound : {0.0, 1.0}) {
        expectBitsOfTheHost(kernels::caseOf("clip_coefficient", {{1}, {1}, {1}}, {{sum}},
                                            {{"max_norm", bound}, {"skip", skip}}),
                            "of " + std::to_string(sum));
      }
    }
  }
}

/// Tokens of several chunks, all columns of one pack or none; rows with many tokens and with one.
TEST(CudaKernels, TheGradientOfAnEmbeddingAddsManyTokensInOrder) {
  for (const std::int64_t columns : {3, 4}) {
    for (const auto element : {catalogue::DType::F32, catalogue::DType::BF16}) {
      const std::int64_t tokens = 9000, entries = 3000;
      KernelCase one =
          kernels::caseOf("embedding_grad", {{tokens}, {tokens, columns}, {entries, columns}}, {});
      for (std::int64_t i = 0; i < tokens; ++i) {
        one.operands[0].set(i, double(i % 3 == 0 ? 17 : i * 7919 % entries));
      }
      for (std::int64_t i = 0; i < tokens * columns; ++i) {
        one.operands[1].set(i, std::sin(double(i)));
      }
      one = withElement(one, element);
      expectBitsOfTheHost(one, "of several chunks");
      EXPECT_TRUE(runCase(one, Order::Descending, {}, 2)[2].sameBits(runCase(one, Order::Ascending)[2]));
    }
  }
}

TEST(CudaKernels, SlicesOfEightDimensions) {
  const std::vector<std::int64_t> whole(8, 3), part = {2, 1, 2, 1, 2, 1, 2, 2},
                                               starts = {1, 0, 1, 2, 0, 1, 1, 0};
  for (const char *const name : {"slice", "slice_grad"}) {
    const bool isGrad = std::string_view(name) == "slice_grad";
    KernelCase one =
        kernels::caseOf(name, {isGrad ? part : whole, isGrad ? whole : part}, {}, {{"starts", starts}});
    for (std::int64_t i = 0; i < one.operands[0].elements; ++i) {
      one.operands[0].set(i, double(i + 1));
    }
    expectBitsOfTheHost(one, "");
  }
}

/// Both no numbers, the same infinity, or nearly the same.
bool isLike(double got, double want) {
  return (std::isnan(got) && std::isnan(want)) || got == want ||
         std::abs(got - want) <= 0.01 * std::max(1.0, std::abs(want));
}

void expectLikeTheHost(const KernelCase &one, const std::string &what) {
  kernels::SerialTileRunner serial;
  const std::vector<Buffer> expected = kernels::runCase(one, kernels::supportedIsas().back(), serial);
  const std::vector<Buffer> results = runCase(one, Order::Ascending);
  for (std::size_t operand = 0; operand < results.size(); ++operand) {
    for (std::int64_t i = 0; i < results[operand].elements; ++i) {
      ASSERT_TRUE(isLike(results[operand].at(i), expected[operand].at(i)))
          << one.text() << " " << what << ": " << one.instance.kernel->operands[operand].name << "[" << i
          << "] is " << results[operand].at(i) << ", not " << expected[operand].at(i);
    }
  }
}

/// What is tried in one element of an operand.
std::vector<double> strangeValues(const KernelCase &one, std::size_t operand) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto &rule = one.instance.kernel->operands[operand];
  if (rule.access == catalogue::Access::Write) {
    return {};
  }
  if (rule.name == "labels") {
    return {-100, -1, 1 << 20, -2147483648.0, 2147483647};
  }
  if (rule.name == "valid_rows") {
    return {-2147483648.0, 0, 2147483647};
  }
  return one.operands[operand].dtype == catalogue::DType::I32
             ? std::vector<double>{}
             : std::vector<double>{NAN, kInfinity, -kInfinity, 0};
}

TEST(CudaKernels, StrangeValuesGiveWhatTheyGiveOnTheHost) {
  for (const char *const name : {"layer_norm",
                                 "layer_norm_grad",
                                 "layer_norm_weight_grad",
                                 "rms_norm",
                                 "rms_norm_grad",
                                 "normalize",
                                 "normalize_grad",
                                 "softmax",
                                 "softmax_grad",
                                 "softmax_cross_entropy",
                                 "softmax_cross_entropy_grad",
                                 "vocabulary_statistics",
                                 "vocabulary_cross_entropy",
                                 "vocabulary_cross_entropy_grad",
                                 "mse_loss",
                                 "mse_loss_grad",
                                 "bce_with_logits",
                                 "bce_with_logits_grad",
                                 "count_correct",
                                 "batch_norm",
                                 "batch_norm_inference",
                                 "batch_norm_grad",
                                 "sync_batch_norm",
                                 "sync_batch_norm_grad",
                                 "group_norm",
                                 "group_norm_grad",
                                 "max_pool2d",
                                 "max_pool2d_grad",
                                 "avg_pool2d",
                                 "adaptive_avg_pool2d"}) {
    for (const KernelCase &plain : kernels::casesOf(name)) {
      const bool isSmall =
          plain.operands[0].elements < 5000 && plain.instance.element == catalogue::DType::F32;
      for (std::size_t i = 0; isSmall && i < plain.operands.size(); ++i) {
        for (const double value : strangeValues(plain, i)) {
          KernelCase one = plain;
          one.operands[i].set(one.operands[i].elements / 3, value);
          expectLikeTheHost(one, "with " + std::to_string(value) + " in " +
                                     std::string(one.instance.kernel->operands[i].name));
        }
      }
    }
  }
}

TEST(CudaKernels, RowsOfNothingButInfinity) {
  for (const char *const name : {"softmax", "softmax_cross_entropy", "vocabulary_statistics"}) {
    for (const double value : {-INFINITY, INFINITY}) {
      for (KernelCase one : kernels::casesOf(name)) {
        if (one.operands[0].elements > 10000) {
          continue;
        }
        for (std::int64_t i = 0; i < one.instance.shapes[0][1]; ++i) {
          one.operands[0].set(i, value);
        }
        expectLikeTheHost(one, "whose first row is " + std::to_string(value));
      }
    }
  }
}

/// To the bit, as docs/kernels.md says.
TEST(CudaKernels, RanksOfAVocabularyGiveTheGradientOfTheWhole) {
  const std::int64_t rows = 5, columns = 24, ranks = 3;
  KernelCase whole =
      kernels::caseOf("softmax_cross_entropy_grad", {{rows, columns}, {rows}, {rows}, {1}, {rows, columns}},
                      {{}, {0, 7, 8, 23, 15}, {3, 3.5, 4, 4.5, 5}, {5}}, {{"label_smoothing", 0.1}});
  for (std::int64_t i = 0; i < whole.operands[0].elements; ++i) {
    whole.operands[0].set(i, double(i * 37 % 101) / 20);
  }
  const Buffer expected = runCase(whole, Order::Ascending)[4];
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const std::int64_t part = columns / ranks;
    KernelCase one = kernels::caseOf(
        "vocabulary_cross_entropy_grad", {{rows, part}, {rows}, {1}, {rows}, {1}, {rows, part}},
        {{}, whole.operands[1].values(), {double(rank)}, whole.operands[2].values(), {5}},
        {{"label_smoothing", 0.1}, {"vocabulary", columns}});
    const auto place = [&](std::int64_t i) { return i / part * columns + rank * part + i % part; };
    for (std::int64_t i = 0; i < one.operands[0].elements; ++i) {
      one.operands[0].set(i, whole.operands[0].at(place(i)));
    }
    const Buffer gradient = runCase(one, Order::Ascending)[5];
    for (std::int64_t i = 0; i < gradient.elements; ++i) {
      ASSERT_EQ(gradient.at(i), expected.at(place(i))) << rank << " " << i;
    }
  }
}

/// Of one chunk and of several, with positions and without.
TEST(CudaKernels, LargeMeansKeepTheVariance) {
  for (const catalogue::Shape &shape : {catalogue::Shape{2, 2, 100}, {1, 2, 40000}, {5000, 3, 1}}) {
    KernelCase one = kernels::caseOf("channel_moments", {shape, {2, shape[1]}}, {});
    for (std::int64_t i = 0; i < one.operands[0].elements; ++i) {
      one.operands[0].set(i, 10000 + double(i * 7919 % 1009) / 1009);
    }
    kernels::ReferenceOperands expected = {one.operands[0].values(), one.operands[1].values()};
    ASSERT_TRUE(runReference(one.instance, expected));
    const Buffer moments = runCase(one, Order::Ascending)[1];
    for (std::size_t i = 0; i < expected[1].size(); ++i) {
      EXPECT_NEAR(moments.at(std::int64_t(i)) / expected[1][i], 1, 1e-5) << one.text() << " " << i;
    }
  }
}

/// Gradients of a query that sees no key, and of one that looks at one key alone by large scores.
TEST(CudaKernels, AttentionAtItsEdges) {
  const catalogue::Shape q{1, 70, 2, 5}, sums{1, 2, 70}, mask{1, 70};
  KernelCase one = kernels::caseOf("attention", {q, q, q, q, sums, mask}, {}, {{"causal", std::int64_t(1)}});
  for (std::int64_t i = 0; i < one.operands[0].elements; ++i) {
    const double row = double(i / 10); // later keys have larger scores: a query looks at the last it sees
    one.operands[0].set(i, 10 + double(i % 3));
    one.operands[1].set(i, 10 * row + double(i % 7));
    one.operands[2].set(i, 20000 + double(i * 31 % 97));
  }
  for (std::int64_t key = 0; key < 70; ++key) {
    one.operands[5].set(key, key >= 20); // the first queries see nothing
  }
  const std::vector<Buffer> results = runCase(one, Order::Ascending);
  for (std::int64_t i = 0; i < results[3].elements; ++i) {
    ASSERT_EQ(results[3].at(i), i < 200 ? 0 : one.operands[2].at(i)) << i;
  }
  for (std::int64_t i = 0; i < results[4].elements; ++i) {
    ASSERT_EQ(results[4].at(i) == -INFINITY, i % 70 < 20) << i;
  }
  KernelCase grad = kernels::caseOf("attention_grad", {q, q, q, q, q, sums, q, q, q, mask}, {},
                                    {{"causal", std::int64_t(1)}});
  for (std::size_t i = 0; i < 5; ++i) {
    grad.operands[i + 1] = results[i];
  }
  grad.operands[9] = results[5];
  for (std::int64_t i = 0; i < grad.operands[0].elements; ++i) {
    grad.operands[0].set(i, 0.1 + double(i % 11) / 7);
  }
  const std::vector<Buffer> gradients = runCase(grad, Order::Ascending);
  for (std::int64_t i = 0; i < gradients[6].elements; ++i) {
    ASSERT_EQ(gradients[6].at(i), 0) << i;
    ASSERT_EQ(gradients[7].at(i), 0) << i;
    ASSERT_EQ(gradients[8].at(i), i < 200 ? 0 : grad.operands[0].at(i)) << i;
  }
}

/// Cases with equal attributes and operands as those of the first, whose scalars they get; empty: all have
/// been taken.
std::vector<KernelCase> takeAlike(std::vector<KernelCase> &cases, std::uint32_t tensors) {
  std::vector<KernelCase> alike, others;
  for (KernelCase &one : cases) {
    const KernelCase &first = alike.empty() ? one : alike[0];
    bool isAlike = one.operands.size() == first.operands.size() &&
                   one.instance.attributes.size() == first.instance.attributes.size();
    for (std::size_t i = 0; isAlike && i < one.instance.attributes.size(); ++i) {
      isAlike = one.instance.attributes[i].name == first.instance.attributes[i].name &&
                one.instance.attributes[i].value == first.instance.attributes[i].value;
    }
    for (std::size_t i = 0; isAlike && i < one.operands.size(); ++i) {
      if ((tensors >> i & 1) == 0) {
        one.operands[i] = first.operands[i];
      }
    }
    (isAlike ? alike : others).push_back(std::move(one));
  }
  cases = std::move(others);
  return alike;
}

/// All of them again and again, more than a launch takes.
void expectBitsOfOwnLaunches(const std::vector<KernelCase> &alike, std::uint32_t tensors, Order order) {
  constexpr std::size_t kCalls = 200, kLaunches = 3;
  EmulatedGpu gpu;
  gpu.order = order;
  const auto api = gpu.api();
  KernelCache cache(*api);
  std::vector<kernels::KernelInstance> instances;
  std::vector<std::vector<Buffer>> memory;
  std::vector<void *> operands;
  for (std::size_t call = 0; call < kCalls; ++call) {
    const KernelCase &one = alike[call % alike.size()];
    instances.push_back(one.instance);
    memory.push_back(one.operands);
    for (std::size_t i = 0; i < one.instance.kernel->operands.size(); ++i) {
      const bool isOwn = (tensors >> i & 1) != 0;
      operands.push_back(i < one.operands.size() ? memory[isOwn ? call : 0][i].data() : nullptr);
    }
  }
  const auto prepared = prepare(instances, cache);
  ASSERT_TRUE(prepared) << prepared.error().text();
  const Stream stream = *api->createStream();
  ASSERT_TRUE((*prepared)->enqueue(operands.data(), nullptr, stream));
  ASSERT_TRUE(api->synchronize(stream));
  EXPECT_EQ(gpu.counts().launches, std::int64_t(kLaunches));
  for (std::size_t number = 0; number < alike.size(); ++number) {
    const std::vector<Buffer> expected = runCase(alike[number], Order::Ascending);
    for (std::size_t call = number; call < kCalls; call += alike.size()) {
      for (std::size_t i = 0; i < expected.size(); ++i) {
        ASSERT_TRUE(memory[call][i].sameBits(expected[i]) && memory[call][i].guardsIntact())
            << alike[number].text() << " call " << call << " operand " << i;
      }
    }
  }
  api->destroy(stream);
}

TEST(CudaKernels, ManyTensorsInOneLaunchHaveTheBitsOfTheirOwn) {
  for (const char *kernel : {"adam", "sgd", "lion", "adagrad", "gradient_norm_partials"}) {
    std::vector<KernelCase> cases = kernels::casesOf(kernel);
    const std::uint32_t tensors = tensorOperands(*cases[0].instance.kernel);
    EXPECT_NE(tensors, 0u) << kernel;
    while (!cases.empty()) {
      const std::vector<KernelCase> alike = takeAlike(cases, tensors);
      for (const Order order : {Order::Ascending, Order::Descending}) {
        ASSERT_NO_FATAL_FAILURE(expectBitsOfOwnLaunches(alike, tensors, order));
      }
    }
  }
  EXPECT_EQ(tensorOperands(*catalogue::find("lamb", 1)), 0u);
  EXPECT_EQ(tensorOperands(*catalogue::find("clip_coefficient", 1)), 0u);
}

} // namespace
} // namespace stagewright::cuda
