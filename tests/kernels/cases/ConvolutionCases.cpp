#include "CaseBuilding.h"

namespace stagewright::kernels {

namespace {

using List = std::vector<std::int64_t>;

struct Convolution {
  std::int64_t samples, inputs, outputs;
  List image, kernel, stride = {1, 1}, padding = {0, 0}, dilation = {1, 1};
  std::int64_t groups = 1;

  Shape x() const { return {samples, inputs, image[0], image[1]}; }
  Shape weight() const { return {outputs, inputs / groups, kernel[0], kernel[1]}; }
  Shape weightOf(int version) const {
    return version == 2 ? weight() : Shape{catalogue::packedConv2dElements(weight())};
  }
  Shape y() const {
    Shape out{samples, outputs, 0, 0};
    for (std::size_t i = 0; i < 2; ++i)
      out[2 + i] = (image[i] + 2 * padding[i] - (kernel[i] - 1) * dilation[i] - 1) / stride[i] + 1;
    return out;
  }
  std::vector<catalogue::Attribute> attributes(bool withKernel) const {
    std::vector<catalogue::Attribute> out = {
        {"stride", stride}, {"padding", padding}, {"dilation", dilation}, {"groups", groups}};
    if (withKernel)
      out.push_back({"kernel", kernel});
    return out;
  }
};

/// Sizes of 1, odd ones, positions around a panel (32) and a tile (256), rows around a block (6, 14) and a
/// tile (256), depths around a chunk; strides that leave phases without taps; groups; long 1 x 1 windows.
std::vector<Convolution> convolutions() {
  std::vector<Convolution> out = {{1, 1, 1, {1, 1}, {1, 1}},
                                  {2, 3, 8, {9, 11}, {3, 3}, {1, 1}, {1, 1}},
                                  {1, 5, 17, {7, 33}, {3, 2}, {2, 1}, {0, 1}},
                                  {3, 4, 6, {8, 8}, {1, 1}},
                                  {2, 40, 30, {5, 7}, {3, 3}, {1, 1}, {1, 1}},
                                  {1, 2, 3, {20, 23}, {7, 7}, {2, 2}, {3, 3}},
                                  {2, 6, 4, {12, 10}, {3, 3}, {3, 2}, {2, 1}, {2, 3}},
                                  {1, 3, 2, {9, 14}, {2, 3}, {4, 6}, {1, 1}, {2, 4}},
                                  {2, 6, 9, {6, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 3},
                                  {1, 20, 20, {9, 18}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 20},
                                  {2, 8, 16, {11, 9}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, 8},
                                  {2, 18, 18, {11, 37}, {3, 2}, {2, 1}, {1, 1}, {1, 2}, 18},
                                  {1, 4, 5, {4, 6}, {1, 1}, {2, 3}, {1, 0}},
                                  {1, 300, 7, {3, 4}, {1, 1}},
                                  {1, 7, 300, {4, 5}, {2, 2}, {1, 1}, {1, 1}},
                                  {4, 2, 15, {17, 19}, {3, 3}, {1, 1}, {4, 3}},
                                  {2, 16, 16, {40, 33}, {3, 3}, {1, 1}, {1, 1}}};
  for (int i = 0; i < 10; ++i)
    out.push_back({integer(1, 3),
                   2 * integer(1, 6),
                   2 * integer(1, 10),
                   {integer(6, 16), integer(6, 20)},
                   {integer(1, 3), integer(1, 3)},
                   {integer(1, 3), integer(1, 3)},
                   {integer(0, 2), integer(0, 2)},
                   {integer(1, 2), integer(1, 2)},
                   integer(1, 2)});
  return out;
}

Cases packCases(std::string_view name) {
  Cases out;
  for (const Convolution &one : convolutions())
    for (const char *round : {"f32", "f16", "bf16"})
      out.push_back(makeCase(name, {one.weight(), {catalogue::packedConv2dElements(one.weight())}},
                             {{"groups", one.groups}, {"round", std::string(round)}}));
  return out;
}

/// Version 2 has the weight as the parameter is.
template <int Version>
Cases forwardCases(std::string_view name) {
  Cases out;
  for (const Convolution &one : convolutions())
    for (bool bias : {false, true}) {
      std::vector<Shape> shapes = {one.x(), one.weightOf(Version), one.y()};
      if (bias)
        shapes.push_back({one.outputs});
      out.push_back(makeCase(name, shapes, one.attributes(true), Version));
      out.back().absolute = 0x1p-23 * double(catalogue::elements(one.weight()) / one.outputs + 2);
    }
  return out;
}

template <int Version>
Cases inputGradCases(std::string_view name) {
  Cases out;
  for (const Convolution &one : convolutions()) {
    out.push_back(makeCase(name, {one.y(), one.weightOf(Version), one.x()}, one.attributes(true), Version));
    out.back().absolute = 0x1p-23 * double(one.outputs * one.kernel[0] * one.kernel[1] + 2);
  }
  return out;
}

Cases weightGradCases(std::string_view name) {
  Cases out;
  for (const Convolution &one : convolutions()) {
    out.push_back(makeCase(name, {one.y(), one.x(), one.weight()}, one.attributes(false)));
    out.back().absolute = 0x1p-23 * double(catalogue::elements(one.y()) / one.outputs + 2);
  }
  return out;
}

const TableEntry kTable[] = {
    {"pack_conv2d_forward", packCases},
    {"pack_conv2d_input_grad", packCases},
    {"conv2d", forwardCases<1>},
    {"conv2d_input_grad", inputGradCases<1>},
    {"conv2d", forwardCases<2>, 2},
    {"conv2d_input_grad", inputGradCases<2>, 2},
    {"conv2d_weight_grad", weightGradCases},
};

} // namespace

std::span<const TableEntry> convolutionCases() {
  return kTable;
}

} // namespace stagewright::kernels
