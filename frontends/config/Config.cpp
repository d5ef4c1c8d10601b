#include "frontends/config/Config.h"

#include "frontends/config/BatchTriangle.h"
#include "frontends/config/ParameterGroups.h"
#include "frontends/config/Partition.h"
#include "frontends/config/Replicas.h"
#include "frontends/config/Scheduler.h"
#include "frontends/config/Settings.h"
#include "frontends/config/Targets.h"
#include "frontends/json/NearestName.h"
#include "frontends/layerspec/LayerTypes.h"
#include "schedule/Recompute.h"
#include "schedule/Schedule.h"

#include <algorithm>
#include <cmath>

namespace stagewright {

static constexpr std::string_view kTrain = "/train_batch_size";
static constexpr std::string_view kMicro = "/train_micro_batch_size_per_gpu";
static constexpr std::string_view kMicroBatches = "/gradient_accumulation_steps";
static constexpr std::string_view kReplicas = "/data_parallel_size";
static constexpr std::string_view kTensorRanks = "/tensor_parallel/autotp_size";
static constexpr std::string_view kReduction = "/gradient_allreduce_op";
static constexpr std::string_view kStages = "/pipeline/stages";
static constexpr std::string_view kPartition = "/pipeline/partition";
static constexpr std::string_view kOwnPartition = "/stagewright/partition";
static constexpr std::string_view kInterval = "/pipeline/activation_checkpoint_interval";
static constexpr std::string_view kRecompute = "/stagewright/recompute";
static constexpr std::string_view kSchedule = "/stagewright/schedule";

static Result<void> checkOverrides(const ConfigOverrides &overrides) {
  if (overrides.dataParallel && (*overrides.dataParallel < 1 || *overrides.dataParallel > kMaximumReplicas))
    return userError("--data-parallel",
                     std::to_string(*overrides.dataParallel) + " is not between 1 and " +
                         std::to_string(kMaximumReplicas),
                     "give the number of replicas of the model; each has ranks of its own");
  if (overrides.tensorParallel &&
      (*overrides.tensorParallel < 1 || *overrides.tensorParallel > kMaximumTensorRanks))
    return userError("--tensor-parallel",
                     std::to_string(*overrides.tensorParallel) + " is not between 1 and " +
                         std::to_string(kMaximumTensorRanks),
                     "give the number of ranks that split parameters");
  if (overrides.stages && (*overrides.stages < 1 || *overrides.stages > 4096))
    return userError("--stages", std::to_string(*overrides.stages) + " is not between 1 and 4096",
                     "give at most one stage per block of the model");
  if (overrides.microBatches &&
      (*overrides.microBatches < 1 || *overrides.microBatches > kMaximumMicroBatches))
    return userError("--micro-batches",
                     std::to_string(*overrides.microBatches) + " is not between 1 and " +
                         std::to_string(kMaximumMicroBatches),
                     "give a number that divides train_batch_size");
  return {};
}

static Result<void> readBatch(Settings &settings, const ConfigOverrides &overrides, Config &config) {
  auto given = [&](std::string_view path) -> std::optional<std::int64_t> {
    const json::Value *value = settings.given(path);
    return value ? std::optional(value->integer) : std::nullopt;
  };
  GivenBatch batch{given(kTrain), given(kMicro), given(kMicroBatches)};
  std::string place = settings.place(batch.train ? kTrain : batch.micro ? kMicro : kMicroBatches);
  if (overrides.microBatches) {
    place = "--micro-batches";
    batch.microBatches = *overrides.microBatches;
    if (batch.train) // the global batch is part of the result contract: it stays, and the micro-batch size
                     // follows
      batch.micro.reset();
  }
  const json::Value *replicas = settings.given(kReplicas);
  config.dataParallel = overrides.dataParallel ? *overrides.dataParallel
                        : replicas && replicas->kind == json::Value::Kind::Integer
                            ? static_cast<int>(replicas->integer)
                            : 1;
  const json::Value *reduction = settings.given(kReduction);
  if (config.dataParallel > 1 && reduction && json::lowerCase(reduction->string) == "sum")
    return userError(settings.place(kReduction),
                     "the sum of the gradients of " + std::to_string(config.dataParallel) +
                         " replicas is asked for, but a step trains on the mean over all samples",
                     "set it to \"mean\", and multiply the learning rate by the number of replicas");
  Result<BatchSizes> sizes = resolveBatch(batch, config.dataParallel, place);
  if (!sizes)
    return sizes.takeError();
  config.trainBatchSize = sizes->train;
  config.microBatchSize = sizes->micro;
  config.microBatches = sizes->microBatches;
  auto origin = [](bool isGiven) { return isGiven ? "file" : "inferred"; };
  settings.record(kTrain, std::to_string(sizes->train), origin(batch.train.has_value()));
  settings.record(kMicro, std::to_string(sizes->micro), origin(batch.micro.has_value()));
  settings.record(kMicroBatches, std::to_string(sizes->microBatches),
                  overrides.microBatches ? "option" : origin(batch.microBatches.has_value()));
  settings.record(kReplicas, std::to_string(config.dataParallel),
                  overrides.dataParallel      ? "option"
                  : settings.given(kReplicas) ? "file"
                                              : "default");
  return {};
}

/// A number of ranks; 0, as DeepSpeed writes it, is none.
static Result<void> readTensorParallel(Settings &settings, const ConfigOverrides &overrides, Config &config) {
  const json::Value *given = settings.given(kTensorRanks);
  config.tensorParallel =
      overrides.tensorParallel.value_or(given ? std::max(1, static_cast<int>(given->integer)) : 1);
  settings.record(kTensorRanks, std::to_string(config.tensorParallel),
                  overrides.tensorParallel ? "option"
                  : given                  ? "file"
                                           : "default");
  if (config.tensorParallel > 1 && config.optimizer.type == OptimizerType::Lamb)
    return userError(overrides.tensorParallel ? "--tensor-parallel" : settings.place(kTensorRanks),
                     "Lamb's trust ratio is of a whole parameter, which " +
                         std::to_string(config.tensorParallel) + " tensor ranks would split",
                     "use AdamW, or pipeline stages and replicas instead of tensor ranks");
  return {};
}

static Result<void> readSchedule(Settings &settings, const ConfigOverrides &overrides, Config &config) {
  std::vector<std::string_view> kinds(schedule::scheduleKinds().begin(), schedule::scheduleKinds().end());
  auto parse = [&](const std::string &text, const std::string &place) -> Result<std::string> {
    std::string name = json::lowerCase(text);
    for (std::string_view kind : kinds)
      if (name == kind)
        return name;
    return userError(place, "this version has no schedule " + json::inQuotes(text),
                     "did you mean " + json::inQuotes(json::nearestName(text, kinds)) + "? It has " +
                         json::joined(kinds));
  };
  Result<std::string> kind = parse(settings.value(kSchedule).string, settings.place(kSchedule));
  if (kind && overrides.schedule)
    kind = parse(*overrides.schedule, "--schedule");
  if (!kind)
    return kind.takeError();
  config.schedule = *kind;
  settings.record(kSchedule, json::jsonText(*kind),
                  overrides.schedule          ? "option"
                  : settings.given(kSchedule) ? "file"
                                              : "default");
  return {};
}

/// The partition in effect. `place` receives where it stands, `origin` where it comes from.
static Result<Partition> choosePartition(const Settings &settings, const ConfigOverrides &overrides,
                                         std::string &place, std::string &origin) {
  Result<Partition> chosen = parsePartition("best", "");
  origin = "default";
  for (std::string_view path : {kPartition, kOwnPartition}) {
    const json::Value *value = settings.given(path);
    if (!value)
      continue;
    Result<Partition> partition = parsePartition(value->string, settings.place(path));
    bool isDefault = json::lowerCase(value->string) == "best";
    if (partition && origin == "file" && !isDefault && partition->text != chosen->text &&
        !overrides.partition)
      return userError(settings.place(path),
                       std::string(path) + " is " + json::inQuotes(partition->text) + ", but " +
                           std::string(kPartition) + " at " + place + " is " + json::inQuotes(chosen->text),
                       "remove one of the two");
    if (!partition)
      return partition;
    if (isDefault)
      continue;
    chosen = std::move(partition);
    place = settings.place(path);
    origin = "file";
  }
  if (!overrides.partition)
    return chosen;
  place = "--partition";
  origin = "option";
  return parsePartition(*overrides.partition, place);
}

static Result<void> readStages(Settings &settings, const ConfigOverrides &overrides, Config &config) {
  std::string place, origin;
  Result<Partition> partition = choosePartition(settings, overrides, place, origin);
  if (!partition)
    return partition.takeError();
  config.partition = partition->text;
  settings.record(kPartition, json::jsonText(partition->text), origin);
  if (settings.given(kOwnPartition))
    settings.record(kOwnPartition, json::jsonText(partition->text), origin);

  const json::Value *given = settings.given(kStages);
  int cutStages = static_cast<int>(partition->cuts.size()) + 1;
  config.stages = overrides.stages ? *overrides.stages : given ? static_cast<int>(given->integer) : cutStages;
  settings.record(kStages, std::to_string(config.stages),
                  overrides.stages ? "option"
                  : given          ? "file"
                  : cutStages > 1  ? "inferred"
                                   : "default");
  config.partitionPlace = place.empty() ? settings.place(kPartition) : place;
  config.stagesPlace = overrides.stages ? "--stages"
                       : given          ? settings.place(kStages)
                                        : config.partitionPlace;
  if (!partition->cuts.empty() && cutStages != config.stages)
    return userError(place,
                     json::inQuotes(partition->text) + " makes " + std::to_string(cutStages) +
                         " stages, but the number of stages is " + std::to_string(config.stages) + " (" +
                         (overrides.stages ? "--stages" : settings.place(kStages)) + ")",
                     "give one cut point less than stages");
  return {};
}

/// /stagewright/recompute, or DeepSpeed's interval for all stages.
static Result<void> readRecompute(Settings &settings, Config &config) {
  const std::string given = settings.value(kRecompute).string;
  const std::int64_t interval = settings.value(kInterval).integer;
  if (interval > 0 && settings.given(kRecompute))
    return userError(settings.place(kInterval),
                     "/pipeline/activation_checkpoint_interval and /stagewright/recompute are both given",
                     "remove one of them");
  const std::string all = interval > 0 ? "interval:" + std::to_string(interval) : given;
  for (std::size_t begin = 0; begin <= all.size();) {
    const std::size_t end = std::min(all.find(';', begin), all.size());
    Result<schedule::Recompute> policy = schedule::parseRecompute(all.substr(begin, end - begin));
    if (!policy)
      return userError(settings.place(kRecompute), policy.error().what, policy.error().advice);
    for (const std::string &type : policy->types)
      if (const LayerType *known = findLayerType(type); !known || known->isLoss)
        return userError(settings.place(kRecompute), "there is no layer type " + json::inQuotes(type),
                         "use types of the model's list of layers (docs/model.md)");
    config.recompute.push_back(schedule::text(*policy));
    begin = end + 1;
  }
  if (config.recompute.size() != 1 && static_cast<int>(config.recompute.size()) != config.stages)
    return userError(settings.place(kRecompute),
                     "/stagewright/recompute has " + std::to_string(config.recompute.size()) +
                         " entries for " + std::to_string(config.stages) + " stages",
                     "give one for all stages, or one for each with semicolons between");
  return {};
}

/// The number in the file, or else a default that is this optimizer's own.
static double numberOr(Settings &settings, std::string_view path, double otherwise) {
  const bool isGiven = settings.given(path);
  const double number = settings.number(path);
  if (isGiven)
    return number;
  settings.record(path, json::jsonText(otherwise), "default");
  return otherwise;
}

static Result<void> readSgd(Settings &settings, OptimizerConfig &optimizer) {
  optimizer.momentum = settings.number("/optimizer/params/momentum");
  optimizer.dampening = settings.number("/optimizer/params/dampening");
  optimizer.nesterov = settings.flag("/optimizer/params/nesterov");
  if (optimizer.nesterov && (optimizer.momentum == 0 || optimizer.dampening != 0))
    return userError(settings.place("/optimizer/params/nesterov"),
                     "Nesterov momentum needs momentum > 0 and dampening 0, but they are " +
                         json::jsonText(optimizer.momentum) + " and " + json::jsonText(optimizer.dampening),
                     "set /optimizer/params/momentum, or nesterov to false");
  return {};
}

static void readAdam(Settings &settings, OptimizerConfig &optimizer) {
  // DeepSpeed: "Adam" decays as AdamW unless adam_w_mode is false; "AdamW" always does.
  bool decouples = settings.flag("/optimizer/params/adam_w_mode");
  optimizer.decoupledDecay = optimizer.type == OptimizerType::AdamW || decouples;
  if (optimizer.decoupledDecay && !decouples)
    settings.record("/optimizer/params/adam_w_mode", "true", "inferred");
  // DeepSpeed hands torch_adam over to torch.optim.AdamW, which decays by 0.01 unless told otherwise.
  bool isTorchAdamW = settings.flag("/optimizer/params/torch_adam") && optimizer.decoupledDecay;
  if (isTorchAdamW && !settings.given("/optimizer/params/weight_decay")) {
    optimizer.weightDecay = 0.01;
    settings.record("/optimizer/params/weight_decay", "0.01", "inferred");
  }
}

static Result<void> readOptimizer(Settings &settings, OptimizerConfig &optimizer) {
  using enum OptimizerType;
  const std::vector<std::string_view> &types = optimizerTypes();
  const std::string given = json::lowerCase(settings.value("/optimizer/type").string);
  const auto type = std::find_if(types.begin(), types.end(),
                                 [&](std::string_view name) { return json::lowerCase(name) == given; });
  optimizer.type = static_cast<OptimizerType>(type - types.begin());
  settings.record("/optimizer/type", json::jsonText(*type),
                  settings.given("/optimizer/type") ? "file" : "default");
  const bool isAdam = optimizer.type == Adam || optimizer.type == AdamW;
  const bool isAdagrad = optimizer.type == Adagrad;
  optimizer.learningRate = numberOr(settings, "/optimizer/params/lr", isAdagrad ? 0.01 : 0.001);
  optimizer.weightDecay = settings.number("/optimizer/params/weight_decay");
  if (optimizer.hasBetas()) {
    json::Value betas = settings.value("/optimizer/params/betas");
    optimizer.beta1 = betas.items[0].number;
    optimizer.beta2 = betas.items[1].number;
  }
  if (isAdam || isAdagrad || optimizer.type == Lamb)
    optimizer.epsilon = numberOr(settings, "/optimizer/params/eps", isAdagrad ? 1e-10 : 1e-8);
  if (isAdam || optimizer.type == Lamb)
    optimizer.biasCorrection = settings.flag("/optimizer/params/bias_correction");
  if (isAdam)
    readAdam(settings, optimizer);
  if (isAdagrad)
    optimizer.rateDecay = settings.number("/optimizer/params/lr_decay");
  if (optimizer.type == Lamb) {
    optimizer.maxCoefficient = settings.number("/optimizer/params/max_coeff");
    optimizer.minCoefficient = settings.number("/optimizer/params/min_coeff");
    if (optimizer.minCoefficient > optimizer.maxCoefficient)
      return userError(settings.place("/optimizer/params/min_coeff"),
                       "min_coeff is " + json::jsonText(optimizer.minCoefficient) + ", but max_coeff is " +
                           json::jsonText(optimizer.maxCoefficient),
                       "let min_coeff be at most max_coeff");
  }
  return optimizer.type == SGD ? readSgd(settings, optimizer) : Result<void>();
}

static Result<void> readPrecision(Settings &settings, Config &config) {
  bool half = settings.flag("/fp16/enabled");
  std::string_view brain = settings.flag("/bf16/enabled")       ? "/bf16/enabled"
                           : settings.flag("/bfloat16/enabled") ? "/bfloat16/enabled"
                                                                : "";
  if (half && !brain.empty())
    return userError(settings.place(brain), "fp16 and bf16 are both enabled", "enable one of them");
  config.precision = half ? "fp16" : brain.empty() ? "fp32" : "bf16";
  config.roundsStochastically = settings.flag("/stagewright/stochastic_rounding");
  if (config.roundsStochastically && config.precision == "fp32")
    return userError(settings.place("/stagewright/stochastic_rounding"),
                     "there is nothing to round by chance: products read weights in fp32",
                     "set /bf16/enabled or /fp16/enabled to true, or remove it");
  if (!half) {
    for (const ConfigKey *key : configKeysBelow("/fp16"))
      if (key->treatment == Treatment::Honoured && settings.given(key->path))
        (void)settings.value(key->path); // listed, though nothing asks for it
    return {};
  }
  LossScaleConfig scale;
  double fixed = settings.number("/fp16/loss_scale");
  scale.dynamic = fixed == 0;
  scale.initial = scale.dynamic ? std::exp2(settings.number("/fp16/initial_scale_power")) : fixed;
  scale.window = settings.value("/fp16/loss_scale_window").integer;
  scale.consecutiveHysteresis = settings.flag("/fp16/consecutive_hysteresis");
  scale.minimum = settings.number("/fp16/min_loss_scale");
  if (scale.minimum == 0)
    return userError(settings.place("/fp16/min_loss_scale"), "/fp16/min_loss_scale must be above 0",
                     "remove it: the default is 1");
  // As DeepSpeed's optimizers without ZeRO, which do not end at the minimum, and do not wait before they
  // halve the scale; but a wait that the file asks for is kept with every ZeRO stage, as no stage changes the
  // bits.
  scale.endsAtMinimum = config.zero > 0;
  scale.hysteresis = static_cast<int>(settings.value("/fp16/hysteresis").integer);
  if (!settings.given("/fp16/hysteresis")) {
    scale.hysteresis = 1;
    settings.record("/fp16/hysteresis", "1", "inferred");
  }
  config.lossScale = scale;
  return {};
}

static void readTraining(const json::Document &document, Settings &settings, Config &config) {
  config.gradientClipping = settings.number("/gradient_clipping");
  config.seed = settings.value("/seed").natural;
  config.shuffle = settings.flag("/stagewright/shuffle");
  config.tf32 = settings.flag("/stagewright/tf32");
  config.syncsBatchNorm = settings.flag("/stagewright/sync_batch_norm");
  const json::Value *print = document.root.find("steps_per_print");
  if (print && print->kind == json::Value::Kind::Null) { // DeepSpeed's way to switch the lines off
    config.stepsPerPrint = 0;
    settings.record("/steps_per_print", "null", "file");
  } else {
    config.stepsPerPrint = static_cast<int>(settings.value("/steps_per_print").integer);
  }
}

static Result<Config> configFrom(Result<json::Document> document, const ConfigOverrides &overrides) {
  if (!document)
    return document.takeError();
  Settings settings(*document);
  Config config;
  if (Result<void> ok = settings.check(); !ok)
    return ok.takeError();
  if (Result<void> ok = checkOverrides(overrides); !ok)
    return ok.takeError();
  if (Result<void> ok = readBatch(settings, overrides, config); !ok)
    return ok.takeError();
  if (Result<void> ok = readStages(settings, overrides, config); !ok)
    return ok.takeError();
  if (Result<void> ok = readSchedule(settings, overrides, config); !ok)
    return ok.takeError();
  if (Result<void> ok = readRecompute(settings, config); !ok)
    return ok.takeError();
  if (Result<void> ok = readOptimizer(settings, config.optimizer); !ok)
    return ok.takeError();
  if (Result<void> ok = readTensorParallel(settings, overrides, config); !ok)
    return ok.takeError();
  Result<SchedulerConfig> scheduler = readScheduler(settings, config.optimizer);
  if (!scheduler)
    return scheduler.takeError();
  config.scheduler = std::move(*scheduler);
  if (const auto *first = config.scheduler.find("cycle_min_mom")) { // as DeepSpeed's OneCycle sets them
    config.optimizer.beta1 = std::get<double>(*first);
    config.optimizer.beta2 = 0.99;
    settings.record("/optimizer/params/betas",
                    "[" + json::jsonText(config.optimizer.beta1) + ", " +
                        json::jsonText(config.optimizer.beta2) + "]",
                    "scheduler");
  }
  if (Result<void> ok = readZero(settings, config); !ok)
    return ok.takeError();
  if (Result<void> ok = readPrecision(settings, config); !ok)
    return ok.takeError();
  if (Result<void> ok = readServers(settings, config); !ok)
    return ok.takeError();
  if (Result<void> ok = readTargets(settings, overrides, config); !ok)
    return ok.takeError();
  Result<std::vector<ParameterGroup>> groups = readParameterGroups(*document, settings, config);
  if (!groups)
    return groups.takeError();
  config.parameterGroups = std::move(*groups);
  readTraining(*document, settings, config);
  config.settings = settings.take();
  return config;
}

Result<Config> readConfig(const std::string &path, const ConfigOverrides &overrides) {
  return configFrom(json::readDocument(path), overrides);
}

Result<Config> parseConfig(const std::string &name, const std::string &text,
                           const ConfigOverrides &overrides) {
  return configFrom(json::parseDocument(name, text), overrides);
}

} // namespace stagewright
