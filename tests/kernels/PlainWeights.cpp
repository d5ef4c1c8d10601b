#include "PlainWeights.h"

#include <algorithm>
#include <numeric>

namespace stagewright::kernels {

namespace {

/// The weight of a product as it was before it was packed.
struct PlainWeight {
  catalogue::Shape shape;
  std::vector<double> values;
};

PlainWeight unpacked(const GoldenCall &golden) {
  const std::string kernel = golden.kernel;
  const bool isForward = !kernel.ends_with("_input_grad");
  const catalogue::Shape &inputs = golden.shapes[isForward ? 0 : 2],
                         &outputs = golden.shapes[isForward ? 2 : 0];
  PlainWeight weight{{outputs[1], inputs[1]}, {}};
  std::vector<catalogue::Attribute> attributes;
  if (kernel.starts_with("conv2d")) {
    const catalogue::Kernel &entry = *catalogue::find(kernel, 1);
    const std::int64_t groups = catalogue::integerAttribute(entry, golden.attributes, "groups");
    const auto taps = catalogue::listAttribute(entry, golden.attributes, "kernel");
    weight.shape = {outputs[1], inputs[1] / groups, taps[0], taps[1]};
    attributes.push_back({"groups", groups});
  }
  // Where each element goes: its number, from 1, packed.
  const auto size = std::size_t(catalogue::elements(weight.shape));
  ReferenceOperands numbers = {std::vector<double>(size), std::vector<double>(golden.before[1].size())};
  std::iota(numbers[0].begin(), numbers[0].end(), 1);
  const std::string pack = "pack_" + (isForward ? kernel + "_forward" : kernel);
  EXPECT_TRUE(
      runReference({catalogue::find(pack, 1), {weight.shape, golden.shapes[1]}, attributes}, numbers));
  weight.values.resize(size);
  for (std::size_t i = 0; i < numbers[1].size(); ++i)
    if (numbers[1][i] > 0)
      weight.values[std::size_t(numbers[1][i]) - 1] = golden.before[1][i];
  return weight;
}

} // namespace

int expectPlainGoldens(std::span<const GoldenCall> goldens, double tolerance) {
  int calls = 0;
  for (const GoldenCall &golden : goldens) {
    const catalogue::Kernel *kernel = catalogue::find(golden.kernel, 2);
    if (!kernel)
      continue;
    const PlainWeight weight = unpacked(golden);
    std::vector<catalogue::Shape> shapes = golden.shapes;
    shapes[1] = weight.shape;
    for (catalogue::DType element : elementTypes(*kernel)) {
      ReferenceOperands operands = golden.before;
      operands[1] = weight.values;
      for (std::size_t i = 0; i < shapes.size(); ++i)
        operands[i].resize(std::size_t(catalogue::elements(shapes[i])));
      const KernelInstance instance{kernel, shapes, golden.attributes, element};
      if (onKernelCall)
        onKernelCall(instance);
      EXPECT_TRUE(runReference(instance, operands));
      for (std::size_t k = 0; k < golden.after[2].size(); ++k)
        EXPECT_NEAR(operands[2][k], golden.after[2][k],
                    tolerance * std::max(1.0, std::abs(golden.after[2][k])))
            << golden.kernel << " element " << k;
    }
    ++calls;
  }
  return calls;
}

namespace {

/// On weights of every size of the cases, the two versions are one function.
TEST(PlainWeights, GiveWhatPackedOnesGive) {
  for (const char *name : {"linear", "linear_input_grad", "conv2d", "conv2d_input_grad"})
    for (const KernelCase &one : casesOf(name, 2)) {
      const bool isForward = !std::string_view(name).ends_with("_input_grad");
      const std::string pack = std::string("pack_") + name + (isForward ? "_forward" : "");
      const catalogue::Shape &weight = one.instance.shapes[1];
      std::vector<catalogue::Shape> shapes = one.instance.shapes;
      std::vector<catalogue::Attribute> attributes;
      shapes[1] = {weight.size() == 4 ? catalogue::packedConv2dElements(weight)
                   : isForward        ? catalogue::packedElements(weight[1], weight[0])
                                      : catalogue::packedElements(weight[0], weight[1])};
      for (const catalogue::Attribute &attribute : one.instance.attributes)
        if (attribute.name == "groups")
          attributes.push_back(attribute);
      ReferenceOperands plain,
          packing = {one.operands[1].values(), std::vector<double>(std::size_t(shapes[1][0]))};
      for (const Buffer &operand : one.operands)
        plain.push_back(operand.values());
      ReferenceOperands packed = plain;
      ASSERT_TRUE(runReference({catalogue::find(pack, 1), {weight, shapes[1]}, attributes}, packing));
      packed[1] = packing[1];
      ASSERT_TRUE(runReference(one.instance, plain));
      ASSERT_TRUE(runReference({catalogue::find(name, 1), shapes, one.instance.attributes}, packed));
      ASSERT_EQ(plain[2], packed[2]) << one.text();
    }
}

} // namespace

} // namespace stagewright::kernels
