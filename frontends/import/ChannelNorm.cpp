// Normalisation over channels of [batch, channels, ...].
#include "frontends/import/LayerImporters.h"

#include "catalogue/Catalogue.h"

#include <array>

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

/// Of all replicas where they share statistics.
struct Normalised {
  Value y, mean, variance;
};
Normalised normalise(LayerContext &layer, Value x, RankedTensorType statistic, int64_t replicas) {
  const int64_t channels = statistic.getDimSize(0);
  Value weight = affine(layer, "weight", channels, 1), bias = affine(layer, "bias", channels, 0);
  const std::array<Type, 3> results{x.getType(), statistic, statistic};
  const FloatAttr epsilon = layer.builder.getF64FloatAttr(layer.argument<double>("eps"));
  if (replicas == 1) {
    auto norm = layer.make<layer::BatchNormOp>(TypeRange(results), x, weight, bias, epsilon);
    return {norm.getY(), norm.getMean(), norm.getVariance()};
  }
  Value moments = layer.make<layer::ChannelMomentsOp>(layer.f32({2, channels}), x);
  Value all = layer.make<layer::AllGatherOp>(layer.f32({replicas, 2, channels}), moments,
                                             layer.builder.getStringAttr("data"));
  auto norm = layer.make<layer::SyncBatchNormOp>(TypeRange(results), x, all, weight, bias, epsilon);
  return {norm.getY(), norm.getMean(), norm.getVariance()};
}

Result<Value> batchNorm(LayerContext &layer, Ranks ranks, bool isSync) {
  ArrayRef<int64_t> shape = layer.inputType().getShape();
  if (shape.size() < ranks.fewest || shape.size() > ranks.most) {
    return layer.mismatch("needs an input " + std::string(ranks.text) + ", but gets " + shapeText(shape),
                          "reshape it, or use another BatchNorm");
  }
  Result<Value> x = channelPositions(layer, "num_features");
  if (!x) {
    return x;
  }
  const int64_t replicas = isSync ? layer.replicas() : 1;
  int64_t channels = shape[1], count = replicas * (layer::elementCount(*x) / channels);
  if (count < 2) {
    return layer.mismatch("has one value per channel in a micro-batch, which has no variance",
                          layer.replicas() > 1
                              ? "make train_micro_batch_size_per_gpu larger, or let the replicas share "
                                "statistics: \"stagewright\": {\"sync_batch_norm\": true}"
                              : "make train_micro_batch_size_per_gpu larger");
  }
  RankedTensorType statistic = layer.f32({channels}),
                   number = RankedTensorType::get({}, layer.builder.getI64Type());
  Normalised norm = normalise(layer, *x, statistic, replicas);
  Value mean = layer.buffer("running_mean", statistic, 0),
        variance = layer.buffer("running_var", statistic, 1);
  Value batches = layer.buffer("num_batches_tracked", number, 0);
  Value counted = layer.reshape(batches, {1});
  auto update = layer.make<layer::BatchNormUpdateOp>(
      TypeRange{statistic, statistic, counted.getType()}, norm.mean, norm.variance, mean, variance, counted,
      layer.builder.getF64FloatAttr(layer.argument<double>("momentum")),
      layer.builder.getI64IntegerAttr(count));
  layer.updateBuffer(mean, update.getNewMean());
  layer.updateBuffer(variance, update.getNewVar());
  layer.updateBuffer(batches, layer.reshape(update.getNewNumBatchesTracked(), {}));
  return layer.reshape(norm.y, shape);
}

Result<Value> batchNorm1d(LayerContext &layer) {
  return batchNorm(layer, {2, 3, "[batch, features] or [batch, features, length]"}, layer.syncsBatchNorm());
}
Result<Value> batchNorm2d(LayerContext &layer) {
  return batchNorm(layer, {4, 4, "[batch, channels, height, width]"}, layer.syncsBatchNorm());
}
Result<Value> syncBatchNorm(LayerContext &layer) {
  return batchNorm(layer, {2, catalogue::kMaxDimensions, "[batch, channels, ...]"}, true);
}

} // namespace

void addChannelNorm(LayerImporters &table) {
  table["BatchNorm1d"] = batchNorm1d;
  table["BatchNorm2d"] = batchNorm2d;
  table["SyncBatchNorm"] = syncBatchNorm;
  table["GroupNorm"] = groupNorm;
}

} // namespace stagewright
