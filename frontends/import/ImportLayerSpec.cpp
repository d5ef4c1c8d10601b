#include "frontends/import/ImportLayerSpec.h"

#include "frontends/config/ConfigKeys.h"
#include "frontends/import/LayerImporters.h"
#include "frontends/json/NearestName.h"
#include "frontends/json/PositionedJson.h"
#include "frontends/layerspec/ModelCheck.h"
#include "ir/plan/PlanDialect.h"

#include <regex>

using namespace mlir;

namespace stagewright {
namespace {

// Names that no model can use, as they hold a slash.
constexpr const char *kRowsInput = "/valid_rows";
constexpr const char *kRandomInput = "/random";
constexpr const char *kLossBlock = "/loss";

/// Builds one module. Layers see each other's results by name.
class LayerSpecImporter {
public:
  LayerSpecImporter(MLIRContext &context, const ModelSpec &spec, const Config &config)
      : spec(spec), config(config), builder(&context), module(ModuleOp::create(builder, at(spec.position))) {
    parameters.replicas = config.dataParallel;
    parameters.syncsBatchNorm = config.syncsBatchNorm;
  }

  Result<OwningOpRef<ModuleOp>> run() {
    builder.setInsertionPointToEnd(module->getBody());
    Location location = module->getLoc();
    writeSettings(location);
    declareLoss(location);
    model = layer::ModelOp::create(builder, location, spec.name);
    body = builder.createBlock(&model.getBody());
    if (Result<void> declared = declareInputs(); !declared) {
      return declared.takeError();
    }
    for (const LayerSpec &layer : spec.layers) {
      SmallVector<Value> read;
      for (const std::string &name : layer.inputs) {
        read.push_back(values.lookup(name));
      }
      if (Result<void> built = importBlock(layer, read); !built) {
        return built.takeError();
      }
    }
    writeFolder();
    if (!spec.hasLoss()) {
      return endWithoutLoss();
    }
    if (llvm::all_of(module->getOps<layer::ParameterOp>(),
                     [](layer::ParameterOp parameter) { return parameter.getFrozen(); })) {
      return userError(placeOf(spec.partPosition("layers"), "model"),
                       "the model has no trainable parameters, so that there is nothing to train",
                       "add a layer with weights, such as Linear, without \"trainable\": false");
    }
    if (Result<void> assigned = assignGroups(); !assigned) {
      return assigned.takeError();
    }
    if (Result<void> built = importLosses(); !built) {
      return built.takeError();
    }
    return std::move(module);
  }

private:
  /// Nothing is trained: no parameter has a gradient or a state. The last block makes the loss 0.
  Result<OwningOpRef<ModuleOp>> endWithoutLoss() {
    if (!parameters.tied.empty()) {
      return userError(
          placeOf(spec.partPosition("layers"), "model"),
          "layers of a model without a loss share a weight, and this version ties only what it trains",
          "remove \"tied\" and give each of them the weight, or add \"loss\" and a label");
    }
    for (layer::ParameterOp parameter : module->getOps<layer::ParameterOp>()) {
      parameter.setFrozen(true);
    }
    if (Result<void> assigned = assignGroups(); !assigned) {
      return assigned.takeError();
    }
    Value last = values.lookup(spec.layers.back().name);
    if (!isa<FloatType>(cast<RankedTensorType>(last.getType()).getElementType())) {
      return userError(placeOf(spec.layers.back().position, "model"), "the last layer makes no numbers",
                       "end the layers with one that computes");
    }
    Location location = NameLoc::get(builder.getStringAttr(kLossBlock), module->getLoc());
    builder.setInsertionPointToEnd(body);
    RankedTensorType type = RankedTensorType::get({1}, builder.getF32Type());
    auto block = layer::BlockOp::create(builder, location, TypeRange(type), builder.getStringAttr(kLossBlock),
                                        builder.getStringAttr(""), builder.getUnitAttr(), last);
    Block *inner = builder.createBlock(&block.getBody(), {}, last.getType(), location);
    builder.setInsertionPointToEnd(inner);
    layer::YieldOp::create(builder, location, layer::NoLossOp::create(builder, location, type).getLoss());
    builder.setInsertionPointToEnd(body);
    layer::YieldOp::create(builder, location, block.getOutputs());
    return std::move(module);
  }

  Location at(const SourcePosition &position) {
    return FileLineColLoc::get(builder.getContext(), position.file, position.line, position.column);
  }

  plan::OffloadAttr offloadOf(const OffloadConfig &offload) {
    if (offload.device == "none" || offload.ratio == 0) {
      return {};
    }
    return plan::OffloadAttr::get(builder.getContext(), offload.device == "cpu" ? "host" : "file",
                                  builder.getF64FloatAttr(offload.ratio), offload.path);
  }

  void writeSettings(Location location) {
    const OptimizerConfig &optimizer = config.optimizer;
    auto real = [&](double value) { return builder.getF64FloatAttr(value); };
    SmallVector<Attribute> entries;
    for (const Setting &setting : config.settings) {
      entries.push_back(builder.getStrArrayAttr({setting.path, setting.value, setting.origin}));
    }
    const bool scheduled = !config.scheduler.type.empty();
    plan::SettingsOp::create(
        builder, location, builder.getStringAttr(spec.name), builder.getStringAttr(spec.sha256),
        builder.getI64IntegerAttr(config.stages), builder.getI64IntegerAttr(config.microBatches),
        builder.getI64IntegerAttr(config.microBatchSize), builder.getI64IntegerAttr(config.trainBatchSize),
        builder.getI64IntegerAttr(config.dataParallel), builder.getStringAttr(config.schedule),
        builder.getStringAttr(config.partition), builder.getI64IntegerAttr(static_cast<int64_t>(config.seed)),
        real(config.gradientClipping), builder.getI64IntegerAttr(config.stepsPerPrint),
        builder.getBoolAttr(config.shuffle),
        builder.getStringAttr(json::lowerCase(optimizerTypes()[static_cast<size_t>(optimizer.type)])),
        real(optimizer.learningRate), real(optimizer.beta1), real(optimizer.beta2), real(optimizer.epsilon),
        real(optimizer.momentum), real(optimizer.dampening), builder.getBoolAttr(optimizer.nesterov),
        real(optimizer.weightDecay), builder.getBoolAttr(optimizer.decoupledDecay),
        builder.getBoolAttr(optimizer.biasCorrection), builder.getStringAttr(config.precision),
        builder.getI64IntegerAttr(config.zero), builder.getBoolAttr(config.overlap),
        builder.getStringAttr(config.gather), builder.getI64IntegerAttr(config.shardGroup),
        builder.getI64IntegerAttr(config.servers), builder.getI64IntegerAttr(config.staleness),
        builder.getBoolAttr(config.tf32), builder.getBoolAttr(config.roundsStochastically),
        builder.getStringAttr(config.reduction), builder.getStringAttr(config.wire),
        builder.getI64IntegerAttr(config.tensorParallel),
        builder.getStrArrayAttr(llvm::to_vector_of<StringRef>(config.targets)), builder.getArrayAttr(entries),
        builder.getStringAttr(config.stagesPlace), builder.getStringAttr(config.partitionPlace),
        scheduled ? builder.getStringAttr(config.scheduler.type) : StringAttr(),
        scheduled ? schedulerParams() : DictionaryAttr(),
        builder.getStrArrayAttr(llvm::to_vector_of<StringRef>(config.recompute)),
        optimizer.type == OptimizerType::Adagrad ? real(optimizer.rateDecay) : FloatAttr(),
        optimizer.type == OptimizerType::Lamb ? real(optimizer.maxCoefficient) : FloatAttr(),
        optimizer.type == OptimizerType::Lamb ? real(optimizer.minCoefficient) : FloatAttr(),
        offloadOf(config.statesOffload), offloadOf(config.weightsOffload),
        config.compression.empty() ? plan::CompressionAttr()
                                   : plan::CompressionAttr::get(builder.getContext(), config.compression,
                                                                real(config.compressionRatio)));
    if (const auto &scale = config.lossScale) {
      plan::LossScaleOp::create(builder, location, real(scale->initial), builder.getBoolAttr(scale->dynamic),
                                builder.getI64IntegerAttr(scale->window),
                                builder.getI64IntegerAttr(scale->hysteresis),
                                builder.getBoolAttr(scale->consecutiveHysteresis), real(scale->minimum),
                                builder.getBoolAttr(scale->endsAtMinimum));
    }
  }

  /// Behind the declarations of the parameters that it names.
  void writeFolder() {
    if (!spec.folder) {
      return;
    }
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(model);
    SmallVector<StringRef> copies;
    for (const auto &[tensor, parameter] : spec.folder->copies) {
      copies.append({tensor, parameter});
    }
    const auto list = [&](const std::vector<std::string> &names) {
      return builder.getStrArrayAttr(llvm::to_vector_of<StringRef>(names));
    };
    plan::FolderOp::create(builder, module->getLoc(), builder.getStringAttr(spec.folder->config),
                           builder.getStringAttr(spec.folder->prefix), list(spec.folder->transposed),
                           builder.getStrArrayAttr(copies), list(spec.folder->ignored));
  }

  DictionaryAttr schedulerParams() {
    NamedAttrList list;
    for (const auto &[name, value] : config.scheduler.params) {
      if (const auto *integer = std::get_if<int64_t>(&value)) {
        list.append(name, builder.getI64IntegerAttr(*integer));
      } else if (const auto *real = std::get_if<double>(&value)) {
        list.append(name, builder.getF64FloatAttr(*real));
      } else {
        list.append(name, builder.getStringAttr(std::get<std::string>(value)));
      }
    }
    return list.getDictionary(builder.getContext());
  }

  /// Declares the groups, and gives every parameter the first one that matches its name.
  Result<void> assignGroups() {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(model);
    SmallVector<std::regex> patterns;
    SmallVector<bool> used(config.parameterGroups.size());
    for (const ParameterGroup &group : config.parameterGroups) {
      patterns.emplace_back(group.match); // the reader has tried it
      plan::GroupOp::create(builder, module->getLoc(), builder.getStringAttr(group.match),
                            builder.getF64FloatAttr(group.learningRate),
                            builder.getF64FloatAttr(group.weightDecay));
    }
    std::vector<std::string_view> names;
    for (layer::ParameterOp parameter : module->getOps<layer::ParameterOp>()) {
      names.push_back(parameter.getSymName());
      const auto found = llvm::find_if(patterns, [&](const std::regex &pattern) {
        return std::regex_search(names.back().begin(), names.back().end(), pattern);
      });
      if (found != patterns.end()) {
        parameter.setGroup(found - patterns.begin());
        used[found - patterns.begin()] = true;
      }
    }
    for (auto [group, isUsed] : llvm::zip(config.parameterGroups, used)) {
      if (!isUsed) {
        return userError(group.place,
                         json::inQuotes(group.match) +
                             " matches no parameter that an earlier group has not taken",
                         "did you mean " + json::inQuotes(json::nearestName(group.match, names)) +
                             "? Parameters are " + json::joined(names));
      }
    }
    return {};
  }

  Value declare(const std::string &name, const std::string &role, RankedTensorType sample,
                RankedTensorType batch, const InputSpec &numbers, Location location) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(model);
    layer::InputOp::create(builder, location, builder.getStringAttr(name), builder.getStringAttr(role),
                           TypeAttr::get(sample), builder.getF64FloatAttr(numbers.scale),
                           builder.getF64FloatAttr(numbers.mean), builder.getF64FloatAttr(numbers.deviation));
    return body->addArgument(batch, location);
  }

  Result<void> declareInputs() {
    for (const InputSpec &input : spec.inputs) {
      Type element = input.dtype == "f32" ? Type(builder.getF32Type()) : Type(builder.getI32Type());
      SmallVector<int64_t> batch = {config.microBatchSize};
      llvm::append_range(batch, input.shape);
      if (std::string reason = beyondLimits(batch); !reason.empty()) {
        return userError(placeOf(input.position, "input " + input.name),
                         "a micro-batch of the input " + input.name + " has the shape " + shapeText(batch) +
                             ", which " + reason,
                         "choose a smaller train_micro_batch_size_per_gpu");
      }
      RankedTensorType type = RankedTensorType::get(batch, element);
      values[input.name] = declare(input.name, input.role, RankedTensorType::get(input.shape, element), type,
                                   input, at(input.position));
      parameters.inputs[input.name] = type;
    }
    RankedTensorType one = RankedTensorType::get({1}, builder.getI32Type());
    rows = declare(kRowsInput, "rows", one, one, InputSpec{}, module->getLoc());
    return {};
  }

  /// Sizes that fit each other may still be more than a kernel takes.
  std::optional<Error> checkKernels(Block &block, const LayerContext &layer) {
    std::string reason;
    ScopedDiagnosticHandler handler(builder.getContext(), [&](Diagnostic &diagnostic) {
      reason = diagnostic.str();
      return success();
    });
    for (Operation &op : block) {
      if (isa<layer::Kernel>(op) && failed(layer::verifyKernel(&op))) {
        return layer.mismatch("cannot be computed: " + reason, "choose other sizes");
      }
    }
    return std::nullopt;
  }

  /// What ops draw random numbers by: an input of the models that need it.
  Value randomInput() {
    if (!random) {
      auto type = RankedTensorType::get({4}, builder.getI32Type());
      random = declare(kRandomInput, "random", type, type, {}, module->getLoc());
    }
    return random;
  }

  /// One layer as a block that reads these values.
  Result<void> importBlock(const LayerSpec &layer, SmallVector<Value> inputs) {
    // The location by which later passes know the block.
    Location location = NameLoc::get(builder.getStringAttr(layer.name), at(layer.position));
    OpBuilder::InsertionGuard guard(builder);
    std::unique_ptr<Block> inner = beginBlock(location, inputs);
    LayerContext context(builder, model, parameters, layer, false, location, inner->getArguments(), blocks++);
    Result<Value> value = importLayer(context, layer.type);
    if (!value) {
      return value.takeError();
    }
    if (std::optional<Error> refused = checkKernels(*inner, context)) {
      return *refused;
    }
    for (auto &[name, argument] : context.furtherInputs()) {
      inputs.push_back(name.empty() ? randomInput() : values.lookup(name));
    }
    values[layer.name] = endBlock(location, layer.name, layer.type, std::move(inner), *value, inputs).front();
    return {};
  }

  /// With an argument for each input; the builder stands in it.
  std::unique_ptr<Block> beginBlock(Location location, ValueRange inputs) {
    auto inner = std::make_unique<Block>();
    for (Value input : inputs) {
      inner->addArgument(input.getType(), location);
    }
    builder.setInsertionPointToEnd(inner.get());
    return inner;
  }

  /// The builder stands at the end of `inner`.
  ValueRange endBlock(Location location, StringRef name, StringRef type, std::unique_ptr<Block> inner,
                      ValueRange results, ValueRange inputs) {
    const bool isLoss = name == kLossBlock;
    layer::YieldOp::create(builder, location, results);
    builder.setInsertionPointToEnd(body);
    auto block = layer::BlockOp::create(builder, location, TypeRange(results), builder.getStringAttr(name),
                                        builder.getStringAttr(type),
                                        isLoss ? builder.getUnitAttr() : UnitAttr(), inputs);
    block.getBody().push_back(inner.release());
    return block.getOutputs();
  }

  /// "CrossEntropyLoss", or "CrossEntropyLoss + 0.5 MSELoss"; empty: there is none.
  std::string lossType() const {
    std::string text;
    for (const LossSpec &loss : spec.losses) {
      char weight[32] = "";
      if (loss.weight != 1) {
        std::snprintf(weight, sizeof weight, "%g ", loss.weight);
      }
      text += (text.empty() ? "" : " + ") + std::string(weight) + loss.type;
    }
    return text;
  }

  void declareLoss(Location location) {
    SmallVector<StringRef> terms;
    for (const LossSpec &loss : spec.losses) {
      terms.push_back(loss.name);
    }
    layer::LossOp::create(builder, location, builder.getStringAttr(lossType()),
                          spec.hasLossTerms() ? builder.getStrArrayAttr(terms) : ArrayAttr(),
                          spec.accuracy ? builder.getStringAttr(spec.classes()->inputs[1]) : StringAttr());
  }

  /// The last block: it reads a layer and a label for each loss, and the count of valid rows.
  Result<void> importLosses() {
    Location location = NameLoc::get(builder.getStringAttr(kLossBlock), at(spec.losses.front().position));
    OpBuilder::InsertionGuard guard(builder);
    SmallVector<Value> inputs;
    for (const LossSpec &loss : spec.losses) {
      inputs.append({values.lookup(loss.inputs[0]), values.lookup(loss.inputs[1])});
    }
    inputs.push_back(rows);
    std::unique_ptr<Block> inner = beginBlock(location, inputs);
    Value total, correct;
    if (spec.hasLossTerms()) {
      total = layer::NoLossOp::create(builder, location, RankedTensorType::get({1}, builder.getF32Type()));
    }
    for (auto [index, loss] : llvm::enumerate(spec.losses)) {
      const Value read[] = {inner->getArgument(2 * index), inner->getArgument(2 * index + 1),
                            inner->getArguments().back()};
      LayerContext context(builder, model, parameters, loss, true, location, read);
      Result<Value> value = importLayer(context, loss.type);
      if (!value) {
        return value.takeError();
      }
      if (std::optional<Error> refused = checkKernels(*inner, context)) {
        return *refused;
      }
      if (spec.accuracy && &loss == spec.classes()) {
        correct = countCorrect(context);
      }
      total = total ? layer::AppendLossOp::create(builder, location, total, *value,
                                                  builder.getF64FloatAttr(loss.weight))
                          .getLonger()
                    : *value;
    }
    SmallVector<Value> results = {total};
    if (correct) {
      results.push_back(correct);
    }
    ValueRange outputs = endBlock(location, kLossBlock, lossType(), std::move(inner), results, inputs);
    layer::YieldOp::create(builder, location, outputs);
    return {};
  }

  const ModelSpec &spec;
  const Config &config;
  OpBuilder builder;
  OwningOpRef<ModuleOp> module;
  layer::ModelOp model; ///< declarations go before it
  Block *body = nullptr;
  Value rows;                    ///< the count of valid rows
  Value random;                  ///< null: no block has asked for it
  int64_t blocks = 0;            ///< so far
  llvm::StringMap<Value> values; ///< of inputs and layers, by name
  ParameterTable parameters;
};

} // namespace

Result<OwningOpRef<ModuleOp>> importLayerSpec(MLIRContext &context, const ModelSpec &model,
                                              const Config &config) {
  if (Result<void> checked = check(model); !checked) {
    return checked.takeError();
  }
  return LayerSpecImporter(context, model, config).run();
}

} // namespace stagewright
