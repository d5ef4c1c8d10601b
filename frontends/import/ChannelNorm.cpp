// Normalisation over channels of [batch, channels, ...].
#include "frontends/import/LayerImporters.h"

using namespace mlir;

namespace stagewright {
namespace {

/// The input as [batch, channels, positions], or why its channels are not those of the layer's `argument`.
Result<Value> channelPositions(LayerContext &layer, const char *argument) {
  ArrayRef<int64_t> x = layer.inputType().getShape();
  int64_t channels = layer.argument<int64_t>(argument);
  if (x.size() < 2 || x[1] != channels) {
    return layer.mismatch("has " + std::string(argument) + " " + std::to_string(channels) +
                              ", but its input has shape " + shapeText(x),
                          x.size() < 2 ? "give it an input [batch, channels, ...]"
                                       : "set it to " + std::to_string(x[1]) + " or change the layer before");
  }
  return layer.reshape(layer.inputs[0],
                       {x[0], channels, layer::elementCount(layer.inputs[0]) / (x[0] * channels)});
}

/// Weight or bias of the channels, where the layer has them.
Value affine(LayerContext &layer, StringRef name, int64_t channels, double value) {
  return layer.argument<bool>("affine") ? layer.parameter(name, {channels}, Initializer::constant(value))
                                        : Value();
}

Result<Value> groupNorm(LayerContext &layer) {
  int64_t groups = layer.argument<int64_t>("num_groups"), channels = layer.argument<int64_t>("num_channels");
  if (channels % groups != 0) {
    return layer.mismatch("has " + std::to_string(groups) + " groups, which do not divide num_channels " +
                              std::to_string(channels),
                          "choose a divisor");
  }
  Result<Value> x = channelPositions(layer, "num_channels");
  if (!x) {
    return x;
  }
  Value weight = affine(layer, "weight", channels, 1), bias = affine(layer, "bias", channels, 0);
  RankedTensorType statistic = layer.f32({LayerContext::shapeOf(*x)[0], groups});
  auto op = layer.make<layer::GroupNormOp>(TypeRange{(*x).getType(), statistic, statistic}, *x, weight, bias,
                                           layer.builder.getF64FloatAttr(layer.argument<double>("eps")));
  return layer.reshape(op.getY(), layer.inputType().getShape());
}

/// Ranks of the inputs that this type takes.
struct Ranks {
  size_t fewest, most;
  const char *text;
};

Result<Value> batchNorm(LayerContext &layer, Ranks ranks) {
  ArrayRef<int64_t> shape = layer.inputType().getShape();
  if (shape.size() < ranks.fewest || shape.size() > ranks.most) {
    return layer.mismatch("needs an input " + std::string(ranks.text) + ", but gets " + shapeText(shape),
                          "reshape it, or use another BatchNorm");
  }
  Result<Value> x = channelPositions(layer, "num_features");
  if (!x) {
    return x;
  }
  int64_t channels = shape[1], count = layer::elementCount(*x) / channels;
  if (count < 2) {
    return layer.mismatch("has one value per channel in a micro-batch, which has no variance",
                          "make train_micro_batch_size_per_gpu larger");
  }
  Value weight = affine(layer, "weight", channels, 1), bias = affine(layer, "bias", channels, 0);
  RankedTensorType statistic = layer.f32({channels}),
                   number = RankedTensorType::get({}, layer.builder.getI64Type());
  auto norm =
      layer.make<layer::BatchNormOp>(TypeRange{(*x).getType(), statistic, statistic}, *x, weight, bias,
                                     layer.builder.getF64FloatAttr(layer.argument<double>("eps")));
  Value mean = layer.buffer("running_mean", statistic, 0),
        variance = layer.buffer("running_var", statistic, 1);
  Value batches = layer.buffer("num_batches_tracked", number, 0);
  Value counted = layer.reshape(batches, {1});
  auto update = layer.make<layer::BatchNormUpdateOp>(
      TypeRange{statistic, statistic, counted.getType()}, norm.getMean(), norm.getVariance(), mean, variance,
      counted, layer.builder.getF64FloatAttr(layer.argument<double>("momentum")),
      layer.builder.getI64IntegerAttr(count));
  layer.updateBuffer(mean, update.getNewMean());
  layer.updateBuffer(variance, update.getNewVar());
  layer.updateBuffer(batches, layer.reshape(update.getNewNumBatchesTracked(), {}));
  return layer.reshape(norm.getY(), shape);
}

Result<Value> batchNorm1d(LayerContext &layer) {
  return batchNorm(layer, {2, 3, "[batch, features] or [batch, features, length]"});
}
Result<Value> batchNorm2d(LayerContext &layer) {
  return batchNorm(layer, {4, 4, "[batch, channels, height, width]"});
}

} // namespace

void addChannelNorm(LayerImporters &table) {
  table["BatchNorm1d"] = batchNorm1d;
  table["BatchNorm2d"] = batchNorm2d;
  table["GroupNorm"] = groupNorm;
}

} // namespace stagewright
