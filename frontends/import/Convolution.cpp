// Convolution and pooling over images [batch, channels, height, width].
#include "frontends/import/LayerImporters.h"

#include <cmath>

using namespace mlir;

namespace stagewright {
namespace {

using Pair = std::vector<int64_t>;

/// torch's size of a result, rounded down; 0 or less when the window does not fit.
int64_t windows(int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  int64_t room = size + 2 * padding - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

/// Result [N, channels, Y, X] of a window that moves over an image, or why it cannot.
Result<RankedTensorType> windowed(LayerContext &layer, int64_t channels, const Pair &kernel,
                                  const Pair &stride, const Pair &padding, const Pair &dilation) {
  ArrayRef<int64_t> x = layer.inputType().getShape();
  int64_t height = windows(x[2], kernel[0], stride[0], padding[0], dilation[0]);
  int64_t width = windows(x[3], kernel[1], stride[1], padding[1], dilation[1]);
  if (height < 1 || width < 1) {
    return layer.mismatch("has a window of " + shapeText(kernel) + " that does not fit its input " +
                              shapeText(x),
                          "make the kernel or the dilation smaller, or the padding larger");
  }
  return layer.f32({x[0], channels, height, width});
}

std::optional<Error> notAnImage(LayerContext &layer) {
  if (layer.inputType().getRank() == 4) {
    return std::nullopt;
  }
  return layer.mismatch("needs an input [batch, channels, height, width], but gets " +
                            shapeText(layer.inputType().getShape()),
                        "give the model's input the shape [channels, height, width]");
}

Result<Value> conv2d(LayerContext &layer) {
  if (std::optional<Error> error = notAnImage(layer)) {
    return *error;
  }
  int64_t in = layer.argument<int64_t>("in_channels"), out = layer.argument<int64_t>("out_channels");
  int64_t groups = layer.argument<int64_t>("groups"), channels = layer.inputType().getDimSize(1);
  if (channels != in) {
    return layer.mismatch("has in_channels " + std::to_string(in) + ", but its input has shape " +
                              shapeText(layer.inputType().getShape()),
                          "set in_channels to " + std::to_string(channels) + " or change the layer before");
  }
  if (groups < 1 || in % groups != 0 || out % groups != 0) {
    return layer.mismatch("has " + std::to_string(groups) + " groups, which do not divide in_channels " +
                              std::to_string(in) + " and out_channels " + std::to_string(out),
                          "choose a divisor of both");
  }
  const Pair &kernel = layer.argument<Pair>("kernel_size"), &stride = layer.argument<Pair>("stride"),
             &padding = layer.argument<Pair>("padding"), &dilation = layer.argument<Pair>("dilation");
  Result<RankedTensorType> type = windowed(layer, out, kernel, stride, padding, dilation);
  if (!type) {
    return type.takeError();
  }
  // torch.nn.Conv2d: kaiming_uniform with a = sqrt(5) is U(-1/sqrt(fan_in), 1/sqrt(fan_in)), for the bias
  // too.
  double fanIn = static_cast<double>(in / groups * kernel[0] * kernel[1]);
  Initializer uniform = Initializer::uniform(1 / std::sqrt(fanIn));
  Value weight = layer.parameter("weight", {out, in / groups, kernel[0], kernel[1]}, uniform);
  Value bias = layer.argument<bool>("bias") ? layer.parameter("bias", {out}, uniform) : Value();
  return layer
      .make<layer::Conv2dOp>(*type, layer.inputs[0], weight, bias, ArrayRef(kernel), ArrayRef(stride),
                             ArrayRef(padding), ArrayRef(dilation), groups)
      .getY();
}

/// The stride of a pooling layer: the kernel's size where it is 0.
Pair strideOf(LayerContext &layer) {
  Pair stride = layer.argument<Pair>("stride");
  for (size_t i = 0; i < stride.size(); ++i) {
    stride[i] = stride[i] == 0 ? layer.argument<Pair>("kernel_size")[i] : stride[i];
  }
  return stride;
}

std::optional<Error> paddedTooFar(LayerContext &layer) {
  for (size_t i = 0; i < 2; ++i) {
    if (2 * layer.argument<Pair>("padding")[i] > layer.argument<Pair>("kernel_size")[i]) {
      return layer.mismatch("pads by more than half of its kernel", "use a smaller padding");
    }
  }
  return std::nullopt;
}

Result<Value> maxPool2d(LayerContext &layer) {
  for (auto check : {notAnImage, paddedTooFar}) {
    if (std::optional<Error> error = check(layer)) {
      return *error;
    }
  }
  const Pair &kernel = layer.argument<Pair>("kernel_size"), &padding = layer.argument<Pair>("padding"),
             &dilation = layer.argument<Pair>("dilation");
  Pair stride = strideOf(layer);
  Result<RankedTensorType> type =
      windowed(layer, layer.inputType().getDimSize(1), kernel, stride, padding, dilation);
  if (!type) {
    return type.takeError();
  }
  auto index = RankedTensorType::get((*type).getShape(), layer.builder.getI32Type());
  return layer
      .make<layer::MaxPool2dOp>(*type, index, layer.inputs[0], ArrayRef(kernel), ArrayRef(stride),
                                ArrayRef(padding), ArrayRef(dilation))
      .getY();
}

Result<Value> avgPool2d(LayerContext &layer) {
  for (auto check : {notAnImage, paddedTooFar}) {
    if (std::optional<Error> error = check(layer)) {
      return *error;
    }
  }
  const Pair &kernel = layer.argument<Pair>("kernel_size"), &padding = layer.argument<Pair>("padding");
  Pair stride = strideOf(layer);
  Result<RankedTensorType> type =
      windowed(layer, layer.inputType().getDimSize(1), kernel, stride, padding, {1, 1});
  if (!type) {
    return type.takeError();
  }
  return layer
      .make<layer::AvgPool2dOp>(*type, layer.inputs[0], ArrayRef(kernel), ArrayRef(stride), ArrayRef(padding),
                                layer.argument<bool>("count_include_pad") ? 1 : 0,
                                layer.argument<int64_t>("divisor_override"))
      .getY();
}

Result<Value> adaptiveAvgPool2d(LayerContext &layer) {
  if (std::optional<Error> error = notAnImage(layer)) {
    return *error;
  }
  ArrayRef<int64_t> x = layer.inputType().getShape();
  const Pair &size = layer.argument<Pair>("output_size");
  return layer.make<layer::AdaptiveAvgPool2dOp>(layer.f32({x[0], x[1], size[0], size[1]}), layer.inputs[0])
      .getY();
}

} // namespace

void addConvolution(LayerImporters &table) {
  table["Conv2d"] = conv2d;
  table["MaxPool2d"] = maxPool2d;
  table["AvgPool2d"] = avgPool2d;
  table["AdaptiveAvgPool2d"] = adaptiveAvgPool2d;
}

} // namespace stagewright
