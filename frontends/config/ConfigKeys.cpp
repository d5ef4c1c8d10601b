#include "frontends/config/KeyTables.h"

#include <algorithm>
#include <unordered_map>

namespace stagewright {

const std::vector<ConfigKey> &configKeys() {
  static const std::vector<ConfigKey> kKeys = [] {
    std::vector<ConfigKey> all;
    for (std::span<const ConfigKey> part :
         {keys::topLevelKeys(), keys::optimizerKeys(), keys::schedulerKeys(), keys::precisionKeys(),
          keys::zeroKeys(), keys::outputKeys(), keys::featureKeys()})
      all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
  return kKeys;
}

const ConfigKey *findConfigKey(std::string_view path) {
  static const std::unordered_map<std::string_view, const ConfigKey *> kByPath = [] {
    std::unordered_map<std::string_view, const ConfigKey *> map;
    for (const ConfigKey &key : configKeys())
      map.emplace(key.path, &key);
    return map;
  }();
  auto it = kByPath.find(path);
  return it == kByPath.end() ? nullptr : it->second;
}

std::vector<const ConfigKey *> configKeysBelow(std::string_view block) {
  std::vector<const ConfigKey *> below;
  for (const ConfigKey &key : configKeys())
    if (key.parent() == block)
      below.push_back(&key);
  return below;
}

std::vector<std::string_view> alternatives(std::string_view list) {
  std::vector<std::string_view> pieces;
  while (!list.empty()) {
    std::size_t bar = std::min(list.find('|'), list.size());
    pieces.push_back(list.substr(0, bar));
    list.remove_prefix(std::min(bar + 1, list.size()));
  }
  return pieces;
}

bool acceptsAuto(std::string_view path) {
  static constexpr std::string_view kBlocks[] = {"/zero_optimization/",
                                                 "/fp16/",
                                                 "/bf16/",
                                                 "/bfloat16/",
                                                 "/tensorboard/",
                                                 "/csv_monitor/",
                                                 "/wandb/",
                                                 "/comet/",
                                                 "/comms_logger/",
                                                 "/compile/",
                                                 "/tensor_parallel/",
                                                 "/hybrid_engine/",
                                                 "/timers/",
                                                 "/weight_quantization/",
                                                 "/aio/"};
  return std::any_of(std::begin(kBlocks), std::end(kBlocks),
                     [&](std::string_view block) { return path.starts_with(block); });
}

static std::string plain(double limit) {
  std::string text = std::to_string(limit);
  return text.substr(0, text.find('.'));
}

static std::string range(const ValueRule &rule) {
  if (rule.minimum == -FLT_MAX)
    return " that fits a float";
  if (rule.minimum == -ValueRule::kInfinity)
    return "";
  if (rule.maximum == ValueRule::kInfinity)
    return " >= " + plain(rule.minimum);
  if (rule.maximum == FLT_MAX)
    return " >= " + plain(rule.minimum) + " that fits a float";
  if (rule.maximum >= 18446744073709551615.0)
    return " from " + plain(rule.minimum) + " to 2^64 - 1";
  return " from " + plain(rule.minimum) + " to " + plain(rule.maximum) +
         (rule.belowMaximum ? " exclusive" : "");
}

std::string describe(const ConfigKey &key) {
  const ValueRule &rule = key.rule;
  std::string text;
  switch (rule.type) {
  case ValueRule::Type::Boolean:
    text = "true or false";
    break;
  case ValueRule::Type::Integer:
    text = "an integer" + range(rule);
    break;
  case ValueRule::Type::Count:
    text = "a whole number" + range(rule);
    break;
  case ValueRule::Type::Number:
    text = "a number" + range(rule);
    break;
  case ValueRule::Type::String:
    text = rule.choices.empty() ? "a string" : "one of";
    for (std::string_view choice : alternatives(rule.choices))
      text.append(text == "one of" ? " \"" : ", \"").append(choice).append("\"");
    break;
  case ValueRule::Type::Pair:
    text = "a list of two numbers" + range(rule);
    break;
  case ValueRule::Type::List:
    text = "a list";
    break;
  case ValueRule::Type::Block:
  case ValueRule::Type::OpenBlock:
    text = "an object";
    break;
  }
  return text + (rule.falseToo ? " or false" : "") + (rule.autoToo ? " or \"auto\"" : "") +
         (key.takesNull() ? " or null" : "");
}

const std::vector<std::string_view> &optimizerTypes() {
  static const std::vector<std::string_view> kTypes{"SGD", "Adam", "AdamW", "Adagrad", "Lamb", "Lion"};
  return kTypes;
}

const std::vector<std::string_view> &refusedOptimizerTypes() {
  static const std::vector<std::string_view> kTypes{
      "Muon",    "OneBitAdam", "ZeroOneAdam", "OneBitLamb", "MuAdam",         "MuAdamW",
      "MuSGD",   "FusedAdam",  "CPUAdam",     "FusedLamb",  "ZenFlowCPUAdam", "CPUAdagrad",
      "CPULion", "FusedLion",  "Adadelta",    "Adafactor",  "Adamax",         "ASGD",
      "LBFGS",   "NAdam",      "RAdam",       "RMSprop",    "Rprop",          "SparseAdam"};
  return kTypes;
}

const std::vector<std::string_view> &schedulerTypes() {
  static const std::vector<std::string_view> kTypes{"WarmupLR", "WarmupDecayLR", "WarmupCosineLR", "OneCycle",
                                                    "LRRangeTest"};
  return kTypes;
}

const std::vector<std::string_view> &refusedSchedulerTypes() {
  static const std::vector<std::string_view> kTypes{"ChainedScheduler",
                                                    "ConstantLR",
                                                    "CosineAnnealingLR",
                                                    "CosineAnnealingWarmRestarts",
                                                    "CyclicLR",
                                                    "ExponentialLR",
                                                    "LambdaLR",
                                                    "LinearLR",
                                                    "MultiplicativeLR",
                                                    "MultiStepLR",
                                                    "OneCycleLR",
                                                    "PolynomialLR",
                                                    "ReduceLROnPlateau",
                                                    "SequentialLR",
                                                    "StepLR"};
  return kTypes;
}

std::vector<std::string> settingsWithoutEffect(const Config &config) {
  std::vector<std::string> paths;
  for (const Setting &setting : config.settings) {
    const ConfigKey *key = findConfigKey(setting.path);
    if (key && key->treatment != Treatment::Honoured && setting.origin == "file")
      paths.push_back(setting.path);
  }
  return paths;
}

} // namespace stagewright
