#include "frontends/import/ImportLayerSpec.h"

#include "ir/layer/LayerDialect.h"
#include "ir/plan/PlanDialect.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringMap.h"

#include <cmath>

using namespace mlir;

namespace stagewright {
namespace {

constexpr const char *kRowsInput = "valid_rows";

std::string shapeText(Type type) {
  std::string text = "[";
  for (int64_t size : cast<RankedTensorType>(type).getShape()) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

/// Builds one module. Layers see each other's results by name.
class LayerSpecImporter {
public:
  LayerSpecImporter(MLIRContext &context, const ModelSpec &spec, const Config &config)
      : spec(spec), config(config), builder(&context),
        module(ModuleOp::create(builder, at(SourcePosition{spec.inputs.front().position.file, 1, 1}))) {}

  Result<OwningOpRef<ModuleOp>> run() {
    builder.setInsertionPointToEnd(module->getBody());
    Location location = module->getLoc();
    writeSettings(location);
    layer::LossOp::create(builder, location, spec.loss.type, spec.accuracy);
    auto model = layer::ModelOp::create(builder, location, spec.name);
    declarations = model;
    body = builder.createBlock(&model.getBody());
    declareInputs();
    std::string previous = firstFeature();
    for (const LayerSpec &layer : spec.layers) {
      if (Result<void> built = importLayer(layer, previous); !built) {
        return built.takeError();
      }
      previous = layer.name;
    }
    if (Result<void> built = importLoss(previous); !built) {
      return built.takeError();
    }
    return std::move(module);
  }

private:
  Location at(const SourcePosition &position) {
    return FileLineColLoc::get(builder.getContext(), position.file, position.line, position.column);
  }
  /// The location by which later passes know the block.
  Location ofBlock(const LayerSpec &layer) {
    return NameLoc::get(builder.getStringAttr(layer.name), at(layer.position));
  }

  std::string firstFeature() const {
    for (const InputSpec &input : spec.inputs) {
      if (input.role == "feature") {
        return input.name;
      }
    }
    return spec.inputs.front().name;
  }

  void writeSettings(Location location) {
    const OptimizerConfig &optimizer = config.optimizer;
    auto real = [&](double value) { return builder.getF64FloatAttr(value); };
    SmallVector<Attribute> entries;
    for (const Setting &setting : config.settings) {
      entries.push_back(builder.getStrArrayAttr({setting.path, setting.value, setting.origin}));
    }
    plan::SettingsOp::create(
        builder, location, builder.getStringAttr(spec.name), builder.getStringAttr(spec.sha256),
        builder.getI64IntegerAttr(config.stages), builder.getI64IntegerAttr(config.microBatches),
        builder.getI64IntegerAttr(config.microBatchSize), builder.getI64IntegerAttr(config.trainBatchSize),
        builder.getI64IntegerAttr(config.dataParallel), builder.getStringAttr(config.schedule),
        builder.getStringAttr(config.partition), builder.getI64IntegerAttr(static_cast<int64_t>(config.seed)),
        real(config.gradientClipping), builder.getI64IntegerAttr(config.stepsPerPrint),
        builder.getBoolAttr(config.shuffle),
        builder.getStringAttr(optimizer.type == OptimizerType::SGD    ? "sgd"
                              : optimizer.type == OptimizerType::Adam ? "adam"
                                                                      : "adamw"),
        real(optimizer.learningRate), real(optimizer.beta1), real(optimizer.beta2), real(optimizer.epsilon),
        real(optimizer.momentum), real(optimizer.dampening), builder.getBoolAttr(optimizer.nesterov),
        real(optimizer.weightDecay), builder.getBoolAttr(optimizer.decoupledDecay),
        builder.getBoolAttr(optimizer.biasCorrection), builder.getStrArrayAttr({"host"}),
        builder.getArrayAttr(entries));
  }

  void declareInputs() {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(declarations);
    auto declare = [&](const std::string &name, const std::string &role, RankedTensorType sample,
                       RankedTensorType batch, const InputSpec &numbers, Location location) {
      layer::InputOp::create(builder, location, builder.getStringAttr(name), builder.getStringAttr(role),
                             TypeAttr::get(sample), builder.getF64FloatAttr(numbers.scale),
                             builder.getF64FloatAttr(numbers.mean),
                             builder.getF64FloatAttr(numbers.deviation));
      values[name] = body->addArgument(batch, location);
    };
    for (const InputSpec &input : spec.inputs) {
      Type element = input.dtype == "f32" ? Type(builder.getF32Type()) : Type(builder.getI32Type());
      SmallVector<int64_t> batch = {config.microBatchSize};
      llvm::append_range(batch, input.shape);
      declare(input.name, input.role, RankedTensorType::get(input.shape, element),
              RankedTensorType::get(batch, element), input, at(input.position));
    }
    RankedTensorType one = RankedTensorType::get({1}, builder.getI32Type());
    declare(kRowsInput, "rows", one, one, InputSpec{}, module->getLoc());
  }

  Value parameter(const LayerSpec &layer, StringRef suffix, ArrayRef<int64_t> shape, double bound) {
    std::string name = layer.name + "." + suffix.str();
    RankedTensorType type = RankedTensorType::get(shape, builder.getF32Type());
    {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(declarations);
      layer::ParameterOp::create(builder, ofBlock(layer), builder.getStringAttr(name),
                                 builder.getStringAttr(layer.name), TypeAttr::get(type),
                                 builder.getStringAttr("uniform"), builder.getF64FloatAttr(bound),
                                 builder.getF64FloatAttr(0.0));
    }
    return layer::ParameterValueOp::create(builder, ofBlock(layer), type, name);
  }

  template <typename T>
  T argument(const LayerSpec &layer, const char *name) {
    return std::get<T>(layer.arguments.at(name).value);
  }

  Error mismatch(const LayerSpec &layer, std::string what, std::string advice) {
    return userError(layer.position.text(), "layer " + layer.name + " (" + layer.type + ") " + what,
                     std::move(advice));
  }

  /// Opens a block on the given values; build(arguments) returns the results to yield.
  template <typename Build>
  Result<void> makeBlock(const LayerSpec &layer, ValueRange inputs, bool isLoss, Build build) {
    Location location = ofBlock(layer);
    OpBuilder::InsertionGuard guard(builder);
    Block *inner = new Block;
    for (Value input : inputs) {
      inner->addArgument(input.getType(), location);
    }
    builder.setInsertionPointToEnd(inner);
    Result<SmallVector<Value>> results = build(inner->getArguments());
    if (!results) {
      delete inner;
      return results.takeError();
    }
    layer::YieldOp::create(builder, location, *results);
    builder.setInsertionPointToEnd(body);
    auto block = layer::BlockOp::create(builder, location, TypeRange(ValueRange(*results)),
                                        builder.getStringAttr(layer.name), builder.getStringAttr(layer.type),
                                        isLoss ? builder.getUnitAttr() : UnitAttr(), inputs);
    block.getBody().push_back(inner);
    values[layer.name] = block.getOutputs().front();
    lastBlock = block;
    return {};
  }

  Result<void> importLayer(const LayerSpec &layer, const std::string &previous) {
    const std::string &source = layer.inputs.empty() ? previous : layer.inputs.front();
    if (layer.inputs.size() > 1) {
      return mismatch(layer, "has " + std::to_string(layer.inputs.size()) + " inputs, but takes one",
                      "name one earlier layer in \"inputs\"");
    }
    Value input = values.lookup(source);
    if (!input || !cast<RankedTensorType>(input.getType()).getElementType().isF32()) {
      return mismatch(layer, "cannot read " + source, "its input must be a layer or a feature of dtype f32");
    }
    return makeBlock(layer, input, false,
                     [&](ValueRange arguments) { return layerResults(layer, arguments.front()); });
  }

  Result<SmallVector<Value>> layerResults(const LayerSpec &layer, Value x) {
    Location location = ofBlock(layer);
    if (layer.type == "Linear") {
      return linear(layer, x);
    }
    if (layer.type == "Flatten") {
      return flatten(layer, x);
    }
    Value y;
    if (layer.type == "ReLU") {
      y = layer::ReluOp::create(builder, location, x);
    } else if (layer.type == "Tanh") {
      y = layer::TanhOp::create(builder, location, x);
    } else if (layer.type == "GELU") {
      y = layer::GeluOp::create(builder, location, x.getType(), x,
                                argument<std::string>(layer, "approximate"));
    } else {
      return bugError(layer.position.text(), "layer type " + layer.type + " is listed but not imported");
    }
    return SmallVector<Value>{y};
  }

  Result<SmallVector<Value>> linear(const LayerSpec &layer, Value x) {
    int64_t in = argument<int64_t>(layer, "in_features"), out = argument<int64_t>(layer, "out_features");
    auto type = cast<RankedTensorType>(x.getType());
    if (type.getRank() != 2) {
      return mismatch(layer,
                      "needs an input [batch, " + std::to_string(in) + "], but gets " + shapeText(type),
                      "put a Flatten layer before it");
    }
    if (type.getDimSize(1) != in) {
      return mismatch(
          layer, "has in_features " + std::to_string(in) + ", but its input has shape " + shapeText(type),
          "set in_features to " + std::to_string(type.getDimSize(1)) + " or change the layer before");
    }
    // torch.nn.Linear: kaiming_uniform with a = sqrt(5) is U(-1/sqrt(in), 1/sqrt(in)), for the bias too.
    double bound = 1 / std::sqrt(static_cast<double>(in));
    Value weight = parameter(layer, "weight", {out, in}, bound);
    Value bias = argument<bool>(layer, "bias") ? parameter(layer, "bias", {out}, bound) : Value();
    RankedTensorType result = RankedTensorType::get({type.getDimSize(0), out}, builder.getF32Type());
    return SmallVector<Value>{layer::LinearOp::create(builder, ofBlock(layer), result, x, weight, bias)};
  }

  Result<SmallVector<Value>> flatten(const LayerSpec &layer, Value x) {
    auto type = cast<RankedTensorType>(x.getType());
    int64_t rank = type.getRank();
    int64_t start = argument<int64_t>(layer, "start_dim"), end = argument<int64_t>(layer, "end_dim");
    int64_t from = start < 0 ? start + rank : start, to = end < 0 ? end + rank : end;
    if (from < 0 || to >= rank || from > to) {
      return mismatch(layer,
                      "cannot flatten dimensions " + std::to_string(start) + " to " + std::to_string(end) +
                          " of " + shapeText(type),
                      "use dimensions between 0 and " + std::to_string(rank - 1) + ", start_dim first");
    }
    if (from == 0 && to > 0) {
      return mismatch(layer, "would flatten the batch dimension away", "set start_dim to 1");
    }
    SmallVector<int64_t> shape(type.getShape().take_front(from));
    int64_t product = 1;
    for (int64_t size : type.getShape().slice(from, to - from + 1)) {
      product *= size;
    }
    shape.push_back(product);
    llvm::append_range(shape, type.getShape().drop_front(to + 1));
    return SmallVector<Value>{layer::ReshapeOp::create(
        builder, ofBlock(layer), RankedTensorType::get(shape, builder.getF32Type()), x)};
  }

  Result<void> importLoss(const std::string &lastLayer) {
    const LayerSpec &loss = spec.loss;
    const std::string &source = loss.inputs.size() == 2 ? loss.inputs[0] : lastLayer;
    std::string label = loss.inputs.size() == 2 ? loss.inputs[1] : "";
    for (const InputSpec &input : spec.inputs) {
      label = label.empty() && input.role == "label" ? input.name : label;
    }
    Value x = values.lookup(source), target = values.lookup(label), rows = values.lookup(kRowsInput);
    if (!x || !target) {
      return mismatch(loss, "has no input \"" + (x ? label : source) + "\"",
                      "name the last layer and the label");
    }
    auto type = cast<RankedTensorType>(x.getType()), labels = cast<RankedTensorType>(target.getType());
    Location location = ofBlock(loss);
    Result<void> made =
        makeBlock(loss, {x, target, rows}, true, [&](ValueRange v) -> Result<SmallVector<Value>> {
          if (loss.type == "MSELoss") {
            if (type != labels) {
              return mismatch(loss, "compares shapes " + shapeText(type) + " and " + shapeText(labels),
                              "give the label input the last layer's shape and dtype f32");
            }
            return SmallVector<Value>{layer::MseLossOp::create(builder, location, v[0], v[1], v[2])};
          }
          if (type.getRank() != 2 || labels.getRank() != 1 || !labels.getElementType().isInteger(32)) {
            return mismatch(loss,
                            "needs logits [batch, classes] and one class index per sample, but gets " +
                                shapeText(type) + " and " + shapeText(labels),
                            "end the layers with a Linear to the number of classes; give the label shape [] "
                            "and dtype i32");
          }
          auto op = layer::SoftmaxCrossEntropyOp::create(builder, location, v[0], v[1], v[2]);
          SmallVector<Value> results = {op.getLoss()};
          if (spec.accuracy) {
            results.push_back(layer::CountCorrectOp::create(builder, location, v[0], v[1], v[2]));
          }
          return results;
        });
    if (!made) {
      return made;
    }
    layer::YieldOp::create(builder, location, lastBlock.getOutputs());
    return {};
  }

  const ModelSpec &spec;
  const Config &config;
  OpBuilder builder;
  OwningOpRef<ModuleOp> module;
  layer::ModelOp declarations; ///< declarations go before it
  layer::BlockOp lastBlock;
  Block *body = nullptr;
  llvm::StringMap<Value> values; ///< of inputs and layers, by name
};

} // namespace

Result<OwningOpRef<ModuleOp>> importLayerSpec(MLIRContext &context, const ModelSpec &model,
                                              const Config &config) {
  return LayerSpecImporter(context, model, config).run();
}

} // namespace stagewright
