// Convolution: PyTorch's numbers, and the rule of the bits, with scalar loops of std::fma as the exact
// oracle.
#include "PlainWeights.h"

#include <limits>

namespace stagewright::kernels {

namespace {

#include "ConvolutionGoldens.inc"

TEST(Convolution, FollowsTorch) {
  for (const GoldenCall &golden : kCalls)
    expectGolden(golden, 1e-6);
}

TEST(Convolution, PlainWeightsFollowTorch) {
  EXPECT_GE(expectPlainGoldens(kCalls, 1e-6), 4);
}

/// A case's numbers, and element i of its operands.
struct Call {
  KernelCase &one;
  std::size_t image, result;
  std::vector<std::int64_t> stride, padding, dilation, kernel;
  std::int64_t groups;

  Call(KernelCase &one, std::size_t image, std::size_t result) : one(one), image(image), result(result) {
    const auto list = [&](const char *name) {
      return catalogue::listAttribute(*one.instance.kernel, one.instance.attributes, name);
    };
    stride = list("stride");
    padding = list("padding");
    dilation = list("dilation");
    kernel = list("kernel");
    if (kernel.empty())
      kernel = {size(2, 2), size(2, 3)};
    groups = catalogue::integerAttribute(*one.instance.kernel, one.instance.attributes, "groups");
  }
  std::int64_t size(std::size_t operand, std::size_t dimension) const {
    return one.instance.shapes[operand][dimension];
  }
  std::int64_t inputs() const { return size(image, 1) / groups; }
  std::int64_t outputs() const { return size(result, 1) / groups; }
  /// Element [sample, channel, row, column] of an operand, 0 outside.
  float at(std::size_t operand, std::int64_t sample, std::int64_t channel, std::int64_t row,
           std::int64_t column) const {
    if (row < 0 || row >= size(operand, 2) || column < 0 || column >= size(operand, 3))
      return 0;
    return float(one.operands[operand].at(
        ((sample * size(operand, 1) + channel) * size(operand, 2) + row) * size(operand, 3) + column));
  }
};

/// One chain from zero for each chunk of the products, added in order.
class Chains {
public:
  explicit Chains(std::int64_t depth) : chunk(packedChunk(depth)) {}

  void add(float a, float b) {
    chain = std::fma(a, b, chain);
    if (++steps % chunk == 0)
      close();
  }
  float result() {
    if (steps % chunk != 0)
      close();
    return sum;
  }

private:
  void close() {
    sum = steps <= chunk ? chain : sum + chain;
    chain = 0;
  }
  std::int64_t chunk, steps = 0;
  float chain = 0, sum = 0;
};

/// Over input channels, then taps; then the bias.
float forwardOracle(const Call &call, std::int64_t sample, std::int64_t output, std::int64_t row,
                    std::int64_t column) {
  const std::int64_t taps = call.kernel[0] * call.kernel[1], depth = call.inputs() * taps;
  Chains chains(depth);
  for (std::int64_t k = 0; k < depth; ++k) {
    const std::int64_t down = k % taps / call.kernel[1], right = k % call.kernel[1];
    chains.add(float(call.one.operands[1].at(output * depth + k)),
               call.at(0, sample, output / call.outputs() * call.inputs() + k / taps,
                       row * call.stride[0] - call.padding[0] + down * call.dilation[0],
                       column * call.stride[1] - call.padding[1] + right * call.dilation[1]));
  }
  return call.one.operands.size() > 3 ? chains.result() + float(call.one.operands[3].at(output))
                                      : chains.result();
}

/// Over output channels, then those taps that meet the element's remainder by the stride.
float inputGradOracle(const Call &call, std::int64_t sample, std::int64_t input, std::int64_t row,
                      std::int64_t column) {
  const std::int64_t taps = call.kernel[0] * call.kernel[1];
  std::vector<std::int64_t> met, rows, columns;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const std::int64_t y = row + call.padding[0] - tap / call.kernel[1] * call.dilation[0],
                       x = column + call.padding[1] - tap % call.kernel[1] * call.dilation[1];
    if (y % call.stride[0] != 0 || x % call.stride[1] != 0)
      continue;
    met.push_back(tap);
    rows.push_back(y / call.stride[0]);
    columns.push_back(x / call.stride[1]);
  }
  if (met.empty())
    return 0;
  Chains chains(call.outputs() * std::int64_t(met.size()));
  for (std::int64_t output = 0; output < call.outputs(); ++output)
    for (std::size_t i = 0; i < met.size(); ++i)
      chains.add(float(call.one.operands[1].at((input * call.outputs() + output) * taps + met[i])),
                 call.at(0, sample, input / call.inputs() * call.outputs() + output, rows[i], columns[i]));
  return chains.result();
}

/// One chain over samples, rows and columns that starts from acc.
float weightGradOracle(const Call &call, std::int64_t output, std::int64_t input, std::int64_t down,
                       std::int64_t right) {
  float sum = call.at(2, output, input, down, right);
  for (std::int64_t sample = 0; sample < call.size(0, 0); ++sample)
    for (std::int64_t i = 0; i < call.size(0, 2) * call.size(0, 3); ++i) {
      const std::int64_t row = i / call.size(0, 3), column = i % call.size(0, 3);
      sum = std::fma(call.at(0, sample, output, row, column),
                     call.at(1, sample, output / call.outputs() * call.inputs() + input,
                             row * call.stride[0] - call.padding[0] + down * call.dilation[0],
                             column * call.stride[1] - call.padding[1] + right * call.dilation[1]),
                     sum);
    }
  return sum;
}

TEST(Convolution, SumsHaveTheDocumentedOrder) {
  setFlushToZero();
  struct Product {
    const char *kernel;
    std::size_t image, result;
    float (*oracle)(const Call &, std::int64_t, std::int64_t, std::int64_t, std::int64_t);
  };
  ThreadTileRunner threads(3);
  for (const Product &product :
       {Product{"conv2d", 0, 2, forwardOracle}, Product{"conv2d_input_grad", 2, 0, inputGradOracle},
        Product{"conv2d_weight_grad", 1, 0, weightGradOracle}})
    for (KernelCase &one : casesOf(product.kernel)) {
      if (one.instance.element != catalogue::DType::F32)
        continue;
      const Call call(one, product.image, product.result);
      std::vector<float> expected;
      for (std::int64_t a = 0; a < call.size(2, 0); ++a)
        for (std::int64_t b = 0; b < call.size(2, 1); ++b)
          for (std::int64_t row = 0; row < call.size(2, 2); ++row)
            for (std::int64_t column = 0; column < call.size(2, 3); ++column)
              expected.push_back(product.oracle(call, a, b, row, column));
      for (Isa isa : supportedIsas()) {
        const Buffer result = runCase(one, isa, threads)[2];
        for (std::size_t i = 0; i < expected.size(); ++i)
          ASSERT_EQ(expected[i], float(result.at(std::int64_t(i))))
              << one.text() << " at " << i << " on " << name(isa);
      }
    }
}

std::string refusal(const char *kernel, std::vector<catalogue::Shape> shapes,
                    std::vector<catalogue::Attribute> attributes) {
  const auto prepared =
      prepare({catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, bestIsa());
  return prepared ? std::string() : prepared.error().what;
}

using List = std::vector<std::int64_t>;

TEST(Convolution, CallsThatTheRulesRefuse) {
  const catalogue::Attribute three{"kernel", List{3, 3}}, two{"groups", std::int64_t(2)};
  const catalogue::Shape x{2, 4, 8, 8}, y{2, 6, 6, 6};
  EXPECT_EQ(refusal("conv2d", {x, {216}, y}, {three}), "");
  EXPECT_EQ(refusal("conv2d", {x, {108}, y}, {three, two}), "");
  EXPECT_EQ(refusal("conv2d", {x, {216}, y}, {three, two}), "operand packed has 216 elements, not 108");
  EXPECT_EQ(refusal("conv2d", {x, {216}, {2, 6, 6, 7}}, {three}),
            "windows over 8 columns give 6 of them, not 7");
  EXPECT_EQ(refusal("conv2d_input_grad", {y, {216}, x}, {three, {"groups", std::int64_t(4)}}),
            "channels 4 and 6 cannot be cut into 4 groups");
  EXPECT_EQ(refusal("conv2d_input_grad", {y, {216}, x}, {three, {"groups", std::int64_t(0)}}),
            "channels 4 and 6 cannot be cut into 0 groups");
  EXPECT_EQ(refusal("conv2d_weight_grad", {y, x, {6, 4, 3, 3}}, {two}),
            "the weight has 4 input channels, and a group has 2");
  EXPECT_EQ(refusal("conv2d_weight_grad", {y, x, {6, 4, 3, std::int64_t(1) << 25}}, {}),
            "the weight has more than 16777216 rows or columns");
  EXPECT_EQ(refusal("pack_conv2d_forward", {{6, 4, 3, 3}, {215}}, {}),
            "operand packed has 215 elements, not 216");
  EXPECT_EQ(refusal("pack_conv2d_input_grad", {{6, 4, 3, 3}, {216}}, {{"groups", std::int64_t(4)}}),
            "6 output channels cannot be cut into 4 groups");
  EXPECT_EQ(catalogue::packedConv2dElements({6, 4, 3, 3}), 216);
  EXPECT_EQ(catalogue::packedConv2dElements({6, 4, 3}), -1);
  EXPECT_EQ(catalogue::packedConv2dElements({std::int64_t(1) << 62, 4, 3, 3}), -1);
}

/// Any shapes and attributes: no overflow (the sanitizers watch).
TEST(Convolution, HostileCalls) {
  const std::vector<std::int64_t> numbers = {1,
                                             1,
                                             2,
                                             3,
                                             1 << 24,
                                             std::int64_t(1) << 43,
                                             1 << 25,
                                             0,
                                             -1,
                                             std::numeric_limits<std::int64_t>::max(),
                                             std::numeric_limits<std::int64_t>::min()};
  std::mt19937_64 engine(9);
  int accepted = 0;
  for (int round = 0; round < 60000; ++round) {
    const std::size_t variety = round % 3 == 2 ? numbers.size() : round % 3 == 1 ? 7 : 3;
    const auto pick = [&] { return numbers[engine() % variety]; };
    const auto shape = [&](std::size_t rank) {
      catalogue::Shape out;
      while (out.size() < rank)
        out.push_back(pick());
      return out;
    };
    std::vector<catalogue::Attribute> attributes = {{"groups", pick()}};
    const bool isPack = round % 4 == 0, isWeight = round % 4 == 3;
    for (const char *attribute : {"stride", "padding", "dilation", "kernel"})
      if (!isPack && !(isWeight && attribute == std::string_view("kernel")))
        attributes.push_back({attribute, List{pick(), pick()}});
    if (isPack)
      accepted += refusal("pack_conv2d_forward", {shape(4), shape(1)}, attributes).empty();
    else if (isWeight)
      accepted += refusal("conv2d_weight_grad", {shape(4), shape(4), shape(4)}, attributes).empty();
    else
      accepted +=
          refusal(round % 4 == 1 ? "conv2d" : "conv2d_input_grad", {shape(4), shape(1), shape(4)}, attributes)
              .empty();
  }
  EXPECT_GT(accepted, 10);
}

} // namespace

} // namespace stagewright::kernels
