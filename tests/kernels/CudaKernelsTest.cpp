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

/// Those that a GPU has; collectives are the executor's.
std::vector<const catalogue::Kernel *> cudaKernels() {
  std::vector<const catalogue::Kernel *> kernels;
  for (const catalogue::Kernel &kernel : catalogue::kernels()) {
    if (!kernel.isCollective && catalogue::existsOn(kernel, "cuda:sm_90")) {
      kernels.push_back(&kernel);
    }
  }
  return kernels;
}

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
const std::vector<std::string> kLikeTheHost = {
    "relu",      "relu_grad",      "tanh_grad", "sigmoid_grad",     "copy",   "add",     "subtract",
    "multiply",  "divide",         "scale",     "accumulate",       "clear",  "cast_to", "cast_from",
    "permute",   "add_and_clear",  "slice",     "slice_grad",       "concat", "expand",  "dropout",
    "embedding", "embedding_grad", "rotary",    "masked_mean_grad", "sgd",    "adam",    "lion",
    "adagrad"};

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
  for (const char *const name :
       {"relu", "accumulate", "permute", "slice_grad", "concat", "expand", "reduce_sum", "dropout",
        "embedding", "embedding_grad", "rotary", "rotary_table", "masked_mean", "masked_mean_grad", "adam"}) {
    for (const KernelCase &one : kernels::casesOf(name)) {
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

} // namespace
} // namespace stagewright::cuda
