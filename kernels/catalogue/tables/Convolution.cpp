// Family convolution: y = x * weight + bias over [N,C,H,W], and what training needs of it.
#include "catalogue/CudaSums.h"
#include "catalogue/Tables.h"
#include "catalogue/tables/Windows.h"

namespace stagewright::catalogue {

namespace {

/// The sizes of one convolution. `kernel` is in the windows.
struct Convolution {
  const char *name;
  const Shape &image, &result;
  std::int64_t inputsOfGroup, groups; ///< inputsOfGroup: that of the weight, or 0 when there is none
};

Error refuse(const char *kernel, std::string what) {
  return userError(std::string("kernel ") + kernel, std::move(what));
}

std::int64_t groupsOf(const char *name, std::span<const Attribute> attributes) {
  return integerAttribute(*find(name, 1), attributes, "groups");
}

Result<void> checkConvolution(const Convolution &call, const std::array<Window, 2> &windows) {
  const std::int64_t channels = call.image[1], outputs = call.result[1];
  if (call.groups < 1 || channels % call.groups != 0 || outputs % call.groups != 0)
    return refuse(call.name, "channels " + std::to_string(channels) + " and " + std::to_string(outputs) +
                                 " cannot be cut into " + std::to_string(call.groups) + " groups");
  if (call.inputsOfGroup && call.inputsOfGroup != channels / call.groups)
    return refuse(call.name, "the weight has " + std::to_string(call.inputsOfGroup) +
                                 " input channels, and a group has " +
                                 std::to_string(channels / call.groups));
  for (std::size_t i = 0; i < 2; ++i)
    if (const std::int64_t size = windows[i].outputs(call.image[2 + i]); size != call.result[2 + i])
      return refuse(call.name, std::string("windows over ") + std::to_string(call.image[2 + i]) +
                                   (i == 0 ? " rows" : " columns") + " give " + std::to_string(size) +
                                   " of them, not " + std::to_string(call.result[2 + i]));
  return {};
}

/// Kernels whose weight is packed.
Result<void> checkPacked(const char *name, const Shape &image, const Shape &packed, const Shape &result,
                         std::span<const Attribute> attributes) {
  auto windows = windowsOf(*find(name, 1), attributes);
  if (!windows)
    return windows.takeError();
  const std::int64_t groups = groupsOf(name, attributes);
  if (Result<void> fine = checkConvolution({name, image, result, 0, groups}, *windows); !fine)
    return fine;
  const std::int64_t wanted =
      packedConv2dElements({result[1], image[1] / groups, (*windows)[0].kernel, (*windows)[1].kernel});
  if (packed[0] != wanted)
    return refuse(name, "operand packed has " + std::to_string(packed[0]) + " elements, not " +
                            std::to_string(wanted));
  return {};
}

Result<void> checkConv2d(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  return checkPacked("conv2d", shapes[0], shapes[1], shapes[2], attributes);
}
Result<void> checkConv2dInputGrad(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  return checkPacked("conv2d_input_grad", shapes[2], shapes[1], shapes[0], attributes);
}

/// Kernels whose weight is as the parameter is.
Result<void> checkPlain(const char *name, const Shape &image, const Shape &weight, const Shape &result,
                        std::span<const Attribute> attributes) {
  auto windows = windowsOf(*find(name, 2), attributes);
  if (!windows)
    return windows.takeError();
  for (std::size_t i = 0; i < 2; ++i)
    if ((*windows)[i].kernel != weight[2 + i])
      return refuse(name, std::string("the weight has ") + std::to_string(weight[2 + i]) +
                              (i == 0 ? " rows" : " columns") + ", and the attribute kernel says " +
                              std::to_string((*windows)[i].kernel));
  return checkConvolution({name, image, result, weight[1], groupsOf(name, attributes)}, *windows);
}

Result<void> checkPlainConv2d(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  return checkPlain("conv2d", shapes[0], shapes[1], shapes[2], attributes);
}
Result<void> checkPlainConv2dInputGrad(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  return checkPlain("conv2d_input_grad", shapes[2], shapes[1], shapes[0], attributes);
}

Result<void> checkConv2dWeightGrad(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  const char *const name = "conv2d_weight_grad";
  auto windows = windowsOf(*find(name, 1), attributes);
  if (!windows)
    return windows.takeError();
  for (std::size_t i = 0; i < 2; ++i)
    if ((*windows)[i].kernel = shapes[2][2 + i]; (*windows)[i].kernel > kMaxWindow)
      return refuse(name, "the weight has more than " + std::to_string(kMaxWindow) + " rows or columns");
  return checkConvolution({name, shapes[1], shapes[0], shapes[2][1], groupsOf(name, attributes)}, *windows);
}

Result<void> checkPack(const char *name, std::span<const Shape> shapes,
                       std::span<const Attribute> attributes) {
  const std::int64_t groups = groupsOf(name, attributes);
  if (groups < 1 || shapes[0][0] % groups != 0)
    return refuse(name, std::to_string(shapes[0][0]) + " output channels cannot be cut into " +
                            std::to_string(groups) + " groups");
  if (shapes[1][0] != packedConv2dElements(shapes[0]))
    return refuse(name, "operand packed has " + std::to_string(shapes[1][0]) + " elements, not " +
                            std::to_string(packedConv2dElements(shapes[0])));
  return {};
}
Result<void> checkPackForward(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  return checkPack("pack_conv2d_forward", shapes, attributes);
}
Result<void> checkPackInputGrad(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  return checkPack("pack_conv2d_input_grad", shapes, attributes);
}

/// `X` and `Y`: operand numbers of the image and of the result, or of their gradients.
template <int X, int Y>
std::size_t scratch(std::span<const Shape> shapes, std::string_view target) {
  if (!isCuda(target) || shapes.size() < 3)
    return 0;
  const Shape &x = shapes[X], &y = shapes[Y];
  for (const Shape *shape : {&shapes[0], &shapes[1], &shapes[2]})
    if (shape->size() != 4 || elements(*shape) < 1 || elements(*shape) > kMaxElements)
      return 0;
  return convolutionScratch(x[0], x[1], x[2] * x[3], y[1], y[2] * y[3]);
}
std::size_t weightScratch(std::span<const Shape> shapes, std::string_view target) {
  const std::size_t bytes = scratch<1, 0>(shapes, target);
  return bytes == 0 ? 0 : bytes + weightGradientBytes(elements(shapes[2]));
}

} // namespace

std::vector<Kernel> convolutionKernels() {
  using List = std::vector<std::int64_t>;
  const AttributeRule groups{"groups", std::int64_t(1)}, kernel{"kernel", List{1, 1}},
      stride{"stride", List{1, 1}}, padding{"padding", List{0, 0}}, dilation{"dilation", List{1, 1}},
      round{"round", std::string("f32"), {"f32", "f16", "bf16"}};
  return {
      // weight [outputs, inputs of a group, rows, columns]. Values are rounded to `round` first.
      only(Devices::Host, entry<"pack_conv2d_forward", "weight f32[O,I,R,S] R, packed f32[P] W">(
                              {groups, round}, {}, nullptr, checkPackForward)),
      only(Devices::Host, entry<"pack_conv2d_input_grad", "weight f32[O,I,R,S] R, packed f32[P] W">(
                              {groups, round}, {}, nullptr, checkPackInputGrad)),
      only(Devices::Host, entry<"conv2d", "x T[N,C,H,W] R, packed f32[P] R, y T[N,O,Y,X] W, bias f32[O] R?">(
                              {kernel, stride, padding, dilation, groups}, {}, nullptr, checkConv2d)),
      only(Devices::Host,
           entry<"conv2d_input_grad", "g T[N,O,Y,X] R, packed f32[P] R, dx T[N,C,H,W] W">(
               {kernel, stride, padding, dilation, groups}, {}, nullptr, checkConv2dInputGrad)),
      // Version 2: the weight as it is, in the type that is computed with.
      only(Devices::Cuda,
           entry<"conv2d", "x T[N,C,H,W] R, weight T[O,I,R,S] R, y T[N,O,Y,X] W, bias T[O] R?", 2>(
               {kernel, stride, padding, dilation, groups}, {}, scratch<0, 2>, checkPlainConv2d)),
      only(Devices::Cuda,
           entry<"conv2d_input_grad", "g T[N,O,Y,X] R, weight T[O,I,R,S] R, dx T[N,C,H,W] W", 2>(
               {kernel, stride, padding, dilation, groups}, {}, scratch<2, 0>, checkPlainConv2dInputGrad)),
      entry<"conv2d_weight_grad", "g T[N,O,Y,X] R, x T[N,C,H,W] R, acc f32[O,I,R,S] RW">(
          {stride, padding, dilation, groups}, {}, weightScratch, checkConv2dWeightGrad),
  };
}

} // namespace stagewright::catalogue
